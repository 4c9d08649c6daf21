"""Participants that do as the test says, speaking the wire contract and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    decode_batch,
    decode_command,
    encode_hello,
    encode_reply,
    pack,
)
from amends_contracts.messages import Command, Hello, Json, Outcome, Reply, to_body
from amends_contracts.names import MessageId, Op
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_contracts.topology import Topology
from amends_orchestrator.transport.memory_broker import MemoryBroker, MemoryConsumer

Script = Callable[[Command], Reply | None]


def reply(command: Command, outcome: Outcome, body: Json, **more: Any) -> Reply:
    """A reply that echoes its command."""
    assert command.saga_id is not None
    assert command.key is not None
    is_problem = outcome not in (Outcome.SUCCEEDED, Outcome.PROGRESS)
    return Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:reply"),
        outcome=outcome,
        body=to_body(body),
        content_type=PROBLEM_CONTENT_TYPE if is_problem else "application/json",
        **more,
    )


def succeeded(**output: Json) -> Script:
    """Always succeed with this output."""
    return lambda command: reply(command, Outcome.SUCCEEDED, output)


def failed(kind: str, *, retryable: bool = False) -> Script:
    """Always fail: nothing changed."""
    return lambda command: reply(command, Outcome.FAILED, {"type": kind}, retryable=retryable)


def silent(command: Command) -> None:
    """Never answer."""


@dataclass
class Participants:
    """Services on the in-process broker. Unscripted commands succeed with `{}`."""

    broker: MemoryBroker
    topology: Topology
    scripts: dict[tuple[str, Op], Script] = field(default_factory=dict[tuple[str, Op], Script])
    seen: list[Command] = field(default_factory=list[Command])
    """Every command delivered, in order, duplicates included."""
    envelopes: list[int] = field(default_factory=list[int])
    """How many commands each envelope held."""
    copies: int = 1
    """How often every reply is published."""

    def run(self, service: str) -> None:
        """Declare a service's queues and answer what comes."""
        for queue in self.topology.service_queues(service):
            self.broker.declare_queue(queue)
            self.broker.subscribe(queue.name, 0, self._receive)

    def take_envelopes(self, service: str, *, answer: bool = True) -> None:
        """Declare its queues for envelopes, say so, and answer each in one; or read them only."""

        def receive(consumer: MemoryConsumer, tag: int, message: AmqpMessage, _: bool) -> None:
            members = decode_batch(message, self.topology)
            self.envelopes.append(len(members))
            replies: list[AmqpMessage] = []
            for member in members:
                assert isinstance(member, AmqpMessage)
                command = decode_command(member)
                self.seen.append(command)
                said = self.scripts.get((command.type, command.op), succeeded())(command)
                if answer and said is not None:
                    replies.append(encode_reply(said, command.reply_to or "", self.topology))
            by_key = {reply.routing_key: [reply] for reply in replies}
            for key in by_key:
                members_ = [reply for reply in replies if reply.routing_key == key]
                for packed in pack(
                    members_,
                    exchange=self.topology.replies,
                    routing_key=key,
                    new_id=lambda: "replies",
                ):
                    self.broker.publish(packed.message)
            self.broker.acknowledge(consumer, tag)

        for queue in self.topology.batch_queues(service):
            self.broker.declare_queue(queue)
            self.broker.subscribe(queue.name, 0, receive)
        self.hello(service, "batch")

    def hello(self, service: str, *accepts: str) -> None:
        """What an instance of it says of itself."""
        said = Hello(service=service, instance="1", commands={}, accepts=frozenset(accepts))
        self.broker.publish(encode_hello(said, self.topology))

    def on(self, command: str, script: Script, op: Op = Op.ACTION) -> None:
        """Script a command."""
        self.scripts[command, op] = script

    def _receive(self, consumer: MemoryConsumer, tag: int, message: AmqpMessage, _: bool) -> None:
        command = decode_command(message)
        self.seen.append(command)
        script = self.scripts.get((command.type, command.op), succeeded())
        answer = script(command)
        if answer is not None:
            assert command.reply_to is not None
            for _copy in range(self.copies):
                self.broker.publish(encode_reply(answer, command.reply_to, self.topology))
        self.broker.acknowledge(consumer, tag)

    def ran(self) -> list[str]:
        """What was asked for, once each, in order: `flights.reserve action 1`."""
        return list(dict.fromkeys(f"{c.type} {c.op} {c.attempt}" for c in self.seen))
