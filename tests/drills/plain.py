"""A participant without SDK, over the in-process broker: right, or wrong in one way.

It sells seats. What it has sold is its world; rows and tombstones are what it remembers.
"""

import asyncio
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import decode_command, encode_reply
from amends_contracts.messages import Command, Json, Outcome, Reply, to_body
from amends_contracts.names import MessageId, Op
from amends_contracts.problems import Problem, ProblemType
from amends_contracts.topology import Topology
from amends_orchestrator.transport.memory_broker import MemoryBroker, MemoryConsumer

LATE_S = 0.15


class Wrong(StrEnum):
    """The ways in which it may be wrong."""

    IN_NOTHING = "right"
    NO_TOMBSTONE = "action accepted after its undo"
    TOMBSTONES_IN_MEMORY = "tombstone forgotten after a restart"
    KEY_IGNORED = "key ignored"
    REPLY_FIRST = "reply before commit"
    ORDER_ASSUMED = "wrong order assumed"


@dataclass
class Plain:
    """The service `seats` with `seats.hold`, undone by `seats.free`; and `seats.print`."""

    broker: MemoryBroker
    topology: Topology
    wrong: Wrong = Wrong.IN_NOTHING
    held: dict[str, int] = field(default_factory=dict[str, int])
    """By action key, how many seats it holds in the world."""
    undone: set[str] = field(default_factory=set[str])
    tombstones: set[str] = field(default_factory=set[str])
    printed: set[str] = field(default_factory=set[str])
    """Sagas whose ticket is printed, and not taken back."""
    sold: int = 0
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])

    def start(self) -> None:
        """Consume both lanes."""
        for queue in self.topology.service_queues("seats"):
            self.broker.declare_queue(queue)
            self.broker.subscribe(queue.name, 100, self._receive)

    def total(self) -> str | None:
        """The invariant: nothing is held."""
        held = sum(self.held.values())
        return f"{held} seats are held" if held else None

    def _receive(self, consumer: MemoryConsumer, tag: int, message: AmqpMessage, _: bool) -> None:
        self.broker.acknowledge(consumer, tag)
        command = decode_command(message)
        if self.wrong is Wrong.TOMBSTONES_IN_MEMORY and command.op is Op.ACTION:
            self.tombstones.clear()  # as if it had been started again just now
        match command.op:
            case Op.ACTION:
                self._act(command)
            case Op.COMPENSATION:
                self._undo(command)
            case Op.LEDGER:
                self._say(command, Outcome.SUCCEEDED, {"effects": self._ledger(command)})
            case _:
                self._say(command, Outcome.FAILED, Problem(type=ProblemType.UNSUPPORTED).to_json())

    def _act(self, command: Command) -> None:
        key = str(command.key)
        if self.wrong is not Wrong.NO_TOMBSTONE and key in self.tombstones:
            self._say(command, Outcome.FENCED, Problem(type=ProblemType.FENCED).to_json())
            return
        if self.wrong is Wrong.REPLY_FIRST and command.type == "seats.hold":
            self._say(command, Outcome.SUCCEEDED, {"number": self.sold + 1})
            self._later(key)
            return
        if key not in self.held or self.wrong is Wrong.KEY_IGNORED:
            self._take(key)
        number = self.sold if self.wrong is Wrong.KEY_IGNORED else 1
        if command.type == "seats.print":
            self.printed.add(str(command.saga_id))
        self._say(command, Outcome.SUCCEEDED, {"number": number})

    def _take(self, key: str) -> None:
        self.sold += 1
        self.held[key] = self.held.get(key, 0) + 1

    def _later(self, key: str) -> None:
        async def commit() -> None:
            await asyncio.sleep(LATE_S)
            if key not in self.held and key not in self.undone:
                self._take(key)

        task = asyncio.create_task(commit())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _undo(self, command: Command) -> None:
        key, saga = str(command.compensates), str(command.saga_id)
        too_late = command.type == "seats.free" and saga not in self.printed
        if too_late and self.wrong is Wrong.ORDER_ASSUMED:  # frees while there is a ticket
            self._say(command, Outcome.FAILED, Problem(type="no-ticket").to_json())
            return
        if command.type == "seats.tear":
            self.printed.discard(saga)
        if self.held.get(key):
            self.held[key] = 0
        elif key not in self.undone:
            self.tombstones.add(key)
        self.undone.add(key)
        self._say(command, Outcome.SUCCEEDED, {})

    def _ledger(self, command: Command) -> list[Json]:
        own = f"{command.saga_id}/"
        return [
            {"key": key, "command": "seats.hold", "effect": "present" if count else "undone"}
            for key, count in self.held.items()
            if key.startswith(own)
        ]

    def _say(self, command: Command, outcome: Outcome, body: Any) -> None:
        assert command.saga_id is not None
        assert command.key is not None
        assert command.reply_to is not None
        reply = Reply(
            saga_id=command.saga_id,
            type=command.type,
            key=command.key,
            attempt=command.attempt,
            token=command.token,
            message_id=MessageId(f"{command.message_id}:reply"),
            outcome=outcome,
            body=to_body(body),
        )
        said = encode_reply(reply, command.reply_to, self.topology)
        self.broker.publish(replace(said, mandatory=False))
