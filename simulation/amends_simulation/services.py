"""Participants: the real SDK runtime in each process, its handlers, and one without the SDK.

The handlers do what the schedule says: fail, doubt, die, take long. What they do to the outside is
kept by the world.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.amqp import Delivery, PublishResult
from amends_contracts.codec import decode_command, encode_reply
from amends_contracts.command import Command
from amends_contracts.messages import Command as CommandMessage
from amends_contracts.messages import Effect as EffectClass
from amends_contracts.messages import Outcome, Reply, to_body
from amends_contracts.names import Key, MessageId, Op
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_participants import Effect, Failed, Participant, Undo, Unknown
from amends_participants.runtime.runtime import Runtime
from amends_participants.runtime.settings import ParticipantSettings
from amends_simulation.broker import TOPOLOGY, Broker, Link
from amends_simulation.database import GIVE_BACK, TAKE, MemoryDatabase, Tables
from amends_simulation.definitions import SERVICES
from amends_simulation.schedule import Point
from amends_simulation.world import PROCESS, Process, World

Output = dict[str, Any]
PLAIN: Final = "plains"
LEASE_S: Final = 3.0
"""How long a dead instance is taken for alive."""
DOWN_S: Final = 1.0
SWEEP_S: Final = 10.0
FENCED: Final = b'{"type":"amends:fenced"}'

# --- handlers ------------------------------------------------------------------------------------


async def _before(point: Point, key: Key | None = None) -> tuple[World, str | None]:
    """What the schedule wants of this call, as far as it comes before the effect.

    Nobody says `failed` of what is there under the key: it speaks for all attempts so far.
    """
    process = PROCESS.get()
    process.check()
    what = process.world.faults.at(point)
    if what in ("fails", "busy") and key is not None and process.world.look(key) is not None:
        what = None
    match what:
        case "crash before":
            process.die()
        case "fails":
            raise Failed("sold-out")
        case "busy":
            raise Failed("busy", retryable=True)
        case "in doubt, not done":
            raise Unknown("no-answer")
        case "slow":
            await asyncio.sleep(0.5 + 2.5 * process.world.chance.random())
        case "very slow":
            await asyncio.sleep(5 + 30 * process.world.chance.random())
        case _:
            pass
    process.check()
    return process.world, what


def _after(what: str | None) -> None:
    match what:
        case "crash after":
            PROCESS.get().die()
        case "in doubt, done":
            raise Unknown("no-answer")
        case _:
            pass


def _output(receipt: int, what: str | None) -> Output:
    return {"m": receipt} if what == "bad output" else {"n": receipt}


def _outside(name: str, effect_class: EffectClass) -> Participant:
    """A service whose effects are outside its database."""

    class Do(Command[Output], name=f"{name}.do", effect=effect_class):
        n: int | None = None
        step: str = ""
        seen: Any = None

    app = Participant(name)
    honours = effect_class is EffectClass.KEYED

    @app.action(Do)
    async def act(effect: Effect) -> Output:
        world, what = await _before(Point.HANDLER, effect.key)
        receipt = world.take(effect.key, effect.tenant, honours=honours)
        _after(what)
        return _output(receipt, what)

    @app.compensation(Do)
    async def undo(undo: Undo[Do, Output], effect: Effect) -> None:
        world, what = await _before(Point.UNDO)
        sure = effect_class is EffectClass.QUERYABLE and undo.output is not None
        world.give_back(undo.key, effect.tenant, sure=sure)
        _after(what)

    if effect_class is EffectClass.QUERYABLE:

        @app.probe(Do)
        async def look(effect: Effect) -> Output | None:
            world, what = await _before(Point.LOOK)
            _after(what)
            receipt = world.look(effect.key)
            return None if receipt is None else {"n": receipt}

    return app


def _inside(name: str) -> Participant:
    """A service whose effects are in the transaction of its barrier."""

    class Do(Command[Output], name=f"{name}.do", effect="transactional"):
        n: int | None = None
        step: str = ""
        seen: Any = None

    app = Participant(name)

    @app.action(Do)
    async def act(tx: AsyncConnection, effect: Effect) -> Output:
        _, what = await _before_commit(Point.HANDLER)
        rows = await tx.exec_driver_sql(TAKE, (effect.key, effect.tenant))
        row: Any = rows.first()
        _after(what)
        return _output(row[0], what)

    @app.compensation(Do)
    async def undo(undo: Undo[Do, Output], tx: AsyncConnection, effect: Effect) -> None:
        _, what = await _before_commit(Point.UNDO)
        sure = undo.output is not None
        await tx.exec_driver_sql(GIVE_BACK, (undo.key, effect.tenant, sure))
        _after(what)

    return app


async def _before_commit(point: Point) -> tuple[World, str | None]:
    """The same in a transaction, which does not wait for the outside."""
    process = PROCESS.get()
    if process.world.faults.peek(point) in ("slow", "very slow"):
        process.world.faults.at(point)
        return process.world, None
    return await _before(point)


APPS: Final = {
    name: _inside(name) if effect == "transactional" else _outside(name, EffectClass(effect))
    for name, effect in SERVICES.items()
    if name != PLAIN
}


@lru_cache(maxsize=2)
def _settings(groups: bool) -> ParticipantSettings:
    return ParticipantSettings(group_max=32 if groups else 1, busy_s=0.5, skip_expired=True)


# --- processes -----------------------------------------------------------------------------------


class Service(Process):
    """One process of a service: the real runtime, given its deliveries one by one."""

    def __init__(self, name: str, tables: Tables, broker: Broker) -> None:
        world = tables.world
        super().__init__(world, name)
        self._tables = tables
        self._broker = broker
        self._link = Link(broker, self, send=Point.ANSWER, acknowledge=Point.ACK)
        self._link.receive = self._receive
        self._runtime = Runtime(
            APPS[name],
            self._link,
            _settings(world.schedule.groups),
            database=MemoryDatabase(tables, self),
            now=world.now,
        )
        tables.alive[self._runtime.scope.instance] = self
        self.begin(self._run())

    async def _run(self) -> None:
        """What is left by others, then what comes, and now and then what is left again."""
        for queue in (*TOPOLOGY.service_queues(self.name), *TOPOLOGY.batch_queues(self.name)):
            await self._link.consume(queue.name, 0)
        while True:
            if self._tables.intents or self._tables.replies:
                with contextlib.suppress(Exception):  # said and repeated, as the upkeep does
                    await self._runtime.sweep()
            await asyncio.sleep(SWEEP_S)

    def _receive(self, delivery: Delivery) -> None:
        self.call(self._runtime.take, delivery)

    def end(self) -> None:
        """With what the runtime has begun by itself."""
        super().end()
        for task in self._runtime.tasks:
            task.cancel()

    def crashed(self) -> None:
        """Its lease ends a while later; another process is started."""
        self._link.drop()
        self.end()
        instance = self._runtime.scope.instance
        self.world.later(LEASE_S, self._tables.alive.pop, instance, None)
        self.world.later(
            DOWN_S * (0.2 + self.world.chance.random()),
            Service,
            self.name,
            self._tables,
            self._broker,
        )


@dataclass(slots=True)
class _Row:
    outcome: Outcome
    """`fenced`: a tombstone."""
    body: bytes
    closed: int = 0
    again: bool = False
    """Whether a higher attempt may run."""


class Plain(Process):
    """A participant by the light profile of the wire contract: no SDK, no intents, no probes."""

    def __init__(self, rows: dict[Key, _Row], world: World, broker: Broker) -> None:
        super().__init__(world, PLAIN)
        self._rows = rows
        self._broker = broker
        self._link = Link(broker, self, send=Point.ANSWER, acknowledge=Point.ACK)
        self._link.receive = self._receive
        self.begin(self._run())

    async def _run(self) -> None:
        for queue in TOPOLOGY.service_queues(PLAIN):
            await self._link.consume(queue.name, 0)

    def _receive(self, delivery: Delivery) -> None:
        self.begin(self._deal_with(delivery))

    async def _deal_with(self, delivery: Delivery) -> None:
        command = decode_command(delivery.message)
        if command.op is Op.ACTION:
            outcome, body, retryable = await self._act(command)
        elif command.op is Op.COMPENSATION:
            outcome, body, retryable = await self._undo(command)
        else:
            outcome, body, retryable = Outcome.FAILED, b'{"type":"amends:unsupported"}', False
        reply = _reply(command, outcome, body, retryable=retryable)
        result = PublishResult.UNKNOWN
        while result is PublishResult.UNKNOWN:
            (result,) = await self._link.publish([reply], 10)
        await self._link.acknowledge([delivery.tag])

    async def _act(self, command: CommandMessage) -> tuple[Outcome, bytes, bool]:
        assert command.key is not None
        known = self._known(command.key, command.attempt)
        if known is not None:
            return known
        try:
            world, what = await _before(Point.HANDLER, command.key)
        except Failed as failed:
            body = to_body(failed.problem.to_json())
            row = _Row(Outcome.FAILED, body, command.attempt, again=failed.retryable)
        except Unknown as unknown:
            body = to_body(unknown.problem.to_json())
            row = _Row(Outcome.UNKNOWN, body, command.attempt, again=True)
        else:
            known = self._known(command.key, command.attempt)  # somebody came while it was slow
            if known is not None:
                return known
            receipt = world.take(command.key, command.tenant, honours=False)
            row = _Row(Outcome.SUCCEEDED, to_body(_output(receipt, what)), command.attempt)
            self._rows[command.key] = row
            if what == "crash after":
                self.die()
        return self._known(command.key, command.attempt) or self._keep(command.key, row)

    def _keep(self, key: Key, row: _Row) -> tuple[Outcome, bytes, bool]:
        self._rows[key] = row
        return row.outcome, row.body, row.outcome is Outcome.FAILED and row.again

    def _known(self, key: Key, attempt: int) -> tuple[Outcome, bytes, bool] | None:
        """The stored reply, unless a higher attempt may run."""
        row = self._rows.get(key)
        if row is None or (row.again and attempt > row.closed):
            return None
        return row.outcome, row.body, row.outcome is Outcome.FAILED and row.again

    async def _undo(self, command: CommandMessage) -> tuple[Outcome, bytes, bool]:
        assert command.key is not None
        assert command.compensates is not None
        try:
            world, what = await _before(Point.UNDO)
        except Failed as failed:
            return Outcome.FAILED, to_body(failed.problem.to_json()), failed.retryable
        except Unknown as unknown:
            return Outcome.UNKNOWN, to_body(unknown.problem.to_json()), False
        if command.key not in self._rows:
            self._rows[command.key] = _Row(Outcome.SUCCEEDED, b"{}")
            action = self._rows.get(command.compensates)
            if action is not None and action.outcome is Outcome.SUCCEEDED:
                world.give_back(command.compensates, command.tenant, sure=True)
            else:
                self._rows[command.compensates] = _Row(Outcome.FENCED, FENCED)
                world.bury(command.compensates)
        if what == "crash after":
            self.die()
        return Outcome.SUCCEEDED, b"{}", False

    def crashed(self) -> None:
        """Another process is started."""
        self._link.drop()
        self.world.later(DOWN_S, Plain, self._rows, self.world, self._broker)


def _reply(command: CommandMessage, outcome: Outcome, body: bytes, *, retryable: bool) -> Any:
    assert command.saga_id is not None
    assert command.key is not None
    good = outcome is Outcome.SUCCEEDED
    reply = Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:reply"),
        outcome=outcome,
        body=body,
        retryable=retryable,
        content_type="application/json" if good else PROBLEM_CONTENT_TYPE,
    )
    return encode_reply(reply, command.reply_to or "", TOPOLOGY)


def services_of(document: object) -> list[str]:
    """The services that a document names."""
    text = json.dumps(document)
    return [name for name in SERVICES if f'"{name}.do"' in text]


def start_services(world: World, broker: Broker, names: list[str]) -> list[Tables]:
    """Processes of each service; their tables."""
    found: list[Tables] = []
    for name in names:
        if name == PLAIN:
            Plain({}, world, broker)
            continue
        tables = Tables(world)
        found.append(tables)
        for _ in range(world.schedule.instances):
            Service(name, tables, broker)
    return found
