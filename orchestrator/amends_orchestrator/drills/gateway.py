"""Between the drill's orchestrator and the participants: every command and every reply passes here.

It plays the script of each saga, signs what it sends on, keeps a log of what it saw, and is the
last to look whether a command may be drilled at all: what is not allowed never leaves.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never

from amends_contracts import drill
from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import decode_command, decode_reply, encode_command, encode_reply
from amends_contracts.codec.headers import WireError
from amends_contracts.codec.hellos import HELLO, decode_hello
from amends_contracts.drill import CALM, Order
from amends_contracts.messages import Command, Hello, Json, Outcome, Reply, digest_of, to_body
from amends_contracts.names import (
    MessageId,
    Op,
    SagaId,
    StepPath,
    ledger_key,
    reply_routing_key,
    service_of,
    split_key,
    split_reply_routing_key,
)
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_orchestrator.drills import scripts
from amends_orchestrator.drills.matrix import CALM_CELL
from amends_orchestrator.drills.oracle import DRILLED
from amends_orchestrator.drills.outside import Outside
from amends_orchestrator.drills.private import PrivateOrchestrator
from amends_orchestrator.drills.scripts import Act, Said, Script
from amends_orchestrator.transport.memory_broker import MemoryConsumer

PREFETCH: Final = 1000
REVIEW: Final = "review"
CancelSaga = Callable[[SagaId], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that passed, or did not."""

    at: float
    """Seconds of this process's clock."""
    saga_id: SagaId
    op: Op
    path: StepPath
    attempt: int
    what: str
    """`sent`, `reply`, and what the drill did: `lost`, `held`, `refused`, `undeliverable`.

    `review`: what its reviewer said, which no message told.
    """
    outcome: Outcome | None = None
    detail: str = ""
    digest: str = ""
    """Of a reply's body."""


@dataclass(slots=True)
class Play:
    """One script under way, over a saga and its late undo."""

    script: Script
    opened_at: float = field(default_factory=time.monotonic)
    began_at: float | None = None
    """When something went wrong for the first time."""
    seen: list[Seen] = field(default_factory=list[Seen])
    held_commands: list[Command] = field(default_factory=list[Command])
    held_replies: list[Reply] = field(default_factory=list[Reply])
    owed: int = 0
    """Replies that are still to come."""
    returned: set[str] = field(default_factory=set[str])
    """Services whose queues nobody has declared."""


class Gateway:
    """Joins one orchestrator of a drill with one outside."""

    def __init__(
        self,
        inner: PrivateOrchestrator,
        outside: Outside,
        *,
        secret: str,
        cancel: CancelSaga,
    ) -> None:
        self._inner = inner
        self._outside = outside
        self._secret = secret
        self._cancel = cancel
        self.allowed: Collection[str] = ()
        """Commands that may be drilled."""
        self.hellos: dict[str, dict[str, Hello]] = defaultdict(dict)
        """By service and instance."""
        self._plays: dict[SagaId, Play] = {}
        self._now_playing = Play(Script(CALM_CELL))
        self._partitions: dict[SagaId, int] = {}
        """Where the replies to a saga go."""
        self._ledgers: dict[tuple[SagaId, str], asyncio.Future[Reply]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._receiving: asyncio.Task[None] | None = None
        inner.dies = self._dies

    async def open(self) -> None:
        """Reach the outside, and take what comes from there."""
        await self._outside.open()
        self._receiving = asyncio.create_task(self._receive())

    async def close(self) -> None:
        """Take nothing more, send nothing more."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, *self._tasks, return_exceptions=True)
            await self._outside.close()

    def serve(self, services: Collection[str]) -> None:
        """Stand for these services at the orchestrator's own broker."""
        for service in services:
            for queue in self._inner.topology.service_queues(service):
                self._inner.broker.declare_queue(queue)
                self._inner.broker.subscribe(queue.name, PREFETCH, self._take)

    def expect(self, play: Play) -> None:
        """From now on this is played for every saga that is new here."""
        self._now_playing = play

    def _play_of(self, saga_id: SagaId) -> Play:
        return self._plays.setdefault(saga_id, self._now_playing)

    # --- commands ------------------------------------------------------------------------------

    def _take(self, consumer: MemoryConsumer, tag: int, message: AmqpMessage, _: bool) -> None:
        self._inner.broker.acknowledge(consumer, tag)
        command = decode_command(message)
        if command.saga_id is None:  # forget: a drill keeps its rows until they are looked at
            return
        play = self._play_of(command.saga_id)
        assert command.reply_to is not None
        self._partitions[command.saga_id] = split_reply_routing_key(command.reply_to)[1]
        op, path = _named(command.key)
        acts = play.script.on_command(op, path, command.attempt)
        self._note_began(play)
        if op is Op.ACTION and command.type not in self.allowed:
            acts = (scripts.Refuse(retryable=False),)
        self._begin(self._on_command(play, command, acts))

    async def _on_command(self, play: Play, command: Command, acts: tuple[Act, ...]) -> None:
        for act in acts:
            match act:
                case scripts.Forward(order=order, copies=copies):
                    await self._forward(play, command, order, copies)
                case scripts.Hold():
                    self._note(play, command, "held")
                    play.held_commands.append(command)
                case scripts.Drop():
                    self._note(play, command, "lost")
                case scripts.Refuse(retryable=retryable):
                    self._note(play, command, "refused", Outcome.FAILED, "by the drill")
                    self._answer(_refused(command, retryable))
                case scripts.Release():
                    await self._release(play)
                case scripts.Cancel():
                    assert command.saga_id is not None
                    self._cancel(command.saga_id)
                case _:
                    assert_never(act)

    async def _forward(self, play: Play, command: Command, order: Order, copies: int) -> None:
        message = self._outgoing(command, order)
        detail = "" if order == CALM else f"ordered to {order.ordered}"
        for _ in range(copies):
            self._note(play, command, "sent", detail=detail)
            play.owed += 1
            if await self._outside.send(message) is PublishResult.RETURNED:
                play.owed -= 1
                play.returned.add(service_of(command.type))
                self._note(play, command, "undeliverable")

    def _outgoing(self, command: Command, order: Order) -> AmqpMessage:
        service, key = service_of(command.type), command.key
        assert key is not None
        signed = {drill.HEADER: drill.write_order(order, key, self._secret)}
        sent = replace(
            command,
            reply_to=f"reply.{service}.{self._outside.address}",
            tenant=drill.TENANT,
            extra_headers={**command.extra_headers, **signed},
        )
        return encode_command(sent, self._inner.topology)

    # --- replies -------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            for message in await self._outside.arrived():
                if message.routing_key == HELLO:
                    self._hear(message)
                else:
                    self._take_reply(message)

    def _hear(self, message: AmqpMessage) -> None:
        try:
            hello = decode_hello(message)
        except WireError:
            return  # not of ours to judge
        self.hellos[hello.service][hello.instance] = hello

    def _take_reply(self, message: AmqpMessage) -> None:
        try:
            reply = decode_reply(message)
        except WireError:
            return
        op, path = _named(reply.key)
        service = service_of(reply.type)
        asked = self._ledgers.pop((reply.saga_id, service), None) if op is Op.LEDGER else None
        if asked is not None and not asked.done():
            asked.set_result(reply)
        play = self._plays.get(reply.saga_id)
        if play is None or op is Op.LEDGER:
            return
        if reply.outcome is not Outcome.PROGRESS:
            play.owed -= 1
        self._note_reply(play, reply, "reply")
        acts = play.script.on_reply(op, path, reply.attempt, reply.outcome)
        self._note_began(play)
        self._begin(self._on_reply(play, reply, acts))

    async def _on_reply(self, play: Play, reply: Reply, acts: tuple[Act, ...]) -> None:
        for act in acts:
            match act:
                case scripts.Forward(copies=copies):
                    for _ in range(copies):
                        self._answer(reply)
                case scripts.Hold():
                    self._note_reply(play, reply, "held")
                    play.held_replies.append(reply)
                case scripts.Drop():
                    self._note_reply(play, reply, "lost")
                case scripts.Release():
                    await self._release(play)
                case scripts.Refuse() | scripts.Cancel():
                    raise AssertionError("of commands alone")
                case _:
                    assert_never(act)

    async def _release(self, play: Play) -> None:
        replies, play.held_replies = play.held_replies, []
        for reply in replies:
            self._answer(reply)
        commands, play.held_commands = play.held_commands, []
        for command in commands:
            await self._forward(play, command, CALM, 1)

    def _answer(self, reply: Reply) -> None:
        """Say it to the orchestrator; while none lives, its partition's queue keeps it."""
        partition = self._partitions.get(reply.saga_id)
        if partition is None:  # of a drill before this one
            return
        address = reply_routing_key(service_of(reply.type), partition)
        self._inner.broker.publish(encode_reply(reply, address, self._inner.topology))

    # --- reviews -------------------------------------------------------------------------------

    def review(self, saga_id: SagaId, path: StepPath) -> Said | None:
        """What the reviewer of a step says now; None: nothing."""
        play = self._play_of(saga_id)
        known = play.script.began
        said = play.script.on_review(path)
        self._note_began(play)
        if said is not None or not known:
            detail = said or "nobody decides"
            seen = Seen(_now(), saga_id, Op.ACTION, path, 0, REVIEW, detail=detail)
            play.seen.append(seen)
        return said

    # --- what the drill itself asks ------------------------------------------------------------

    async def ledger(self, service: str, saga_id: SagaId, timeout_s: float) -> Reply | None:
        """What a service says it holds for a saga; None: it did not answer."""
        key = ledger_key(saga_id)
        command = Command(
            type=f"{service}.ledger",
            op=Op.LEDGER,
            message_id=MessageId(f"{saga_id}:ledger:1"),
            body=to_body({}),
            saga_id=saga_id,
            reply_to=reply_routing_key(service, 0),
            key=key,
        )
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._ledgers[saga_id, service] = future
        try:
            if await self._outside.send(self._outgoing(command, CALM)) is PublishResult.RETURNED:
                return None
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            self._ledgers.pop((saga_id, service), None)

    # --- notes ---------------------------------------------------------------------------------

    def _dies(self, outgoing: bool, saga_id: SagaId, op: Op, path: StepPath) -> bool:
        play = self._play_of(saga_id)
        script = play.script
        fatal = script.kills_before_dispatch if outgoing else script.kills_before_decision
        dies = fatal(op, path)
        self._note_began(play)
        if dies:
            when = "before it was sent" if outgoing else "before it was decided"
            play.seen.append(Seen(_now(), saga_id, op, path, 0, "orchestrator killed", None, when))
        return dies

    def _note_began(self, play: Play) -> None:
        if play.script.began and play.began_at is None:
            play.began_at = _now()

    def _note(
        self,
        play: Play,
        command: Command,
        what: str,
        outcome: Outcome | None = None,
        detail: str = "",
    ) -> None:
        op, path = _named(command.key)
        assert command.saga_id is not None
        seen = Seen(_now(), command.saga_id, op, path, command.attempt, what, outcome, detail)
        play.seen.append(seen)

    def _note_reply(self, play: Play, reply: Reply, what: str) -> None:
        op, path = _named(reply.key)
        detail = "" if reply.outcome in _SETTLED else reply.problem().type
        outcome, digest = reply.outcome, digest_of(reply.body)
        play.seen.append(
            Seen(_now(), reply.saga_id, op, path, reply.attempt, what, outcome, detail, digest)
        )

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_SETTLED: Final = frozenset({Outcome.SUCCEEDED, Outcome.PROGRESS})


def effects_of(reply: Reply) -> Mapping[StepPath, str] | None:
    """What a ledger says, by step; None: the service has none."""
    if reply.outcome is not Outcome.SUCCEEDED:
        return None
    said: Json = json.loads(reply.body)
    found: dict[StepPath, str] = {}
    for effect in said.get("effects", ()):
        _, path, _ = split_key(effect["key"])
        if path is not None:
            found[path] = effect["effect"]
    return found


def _refused(command: Command, retryable: bool) -> Reply:
    assert command.saga_id is not None
    assert command.key is not None
    return Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:drill"),
        outcome=Outcome.FAILED,
        body=to_body(DRILLED.to_json()),
        retryable=retryable,
        content_type=PROBLEM_CONTENT_TYPE,
    )


def _named(key: str | None) -> tuple[Op, StepPath]:
    assert key is not None
    _, path, op = split_key(key)
    return op, path or StepPath("")


def _now() -> float:
    return time.monotonic()
