"""Runs the cells of a drill, one after the other, against participants that really run.

One at a time: what an invariant finds broken is then the doing of one cell. Every cell ends with
nothing held: a saga that completed is undone, which proves those undos too.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

import asyncpg

from amends_contracts.definition import Definition
from amends_contracts.documents import definition_digest, dump_definition
from amends_contracts.drill import TENANT
from amends_contracts.messages import Json, Start, StartAnswer, Trace, Undo
from amends_contracts.names import SagaId, StepPath
from amends_contracts.problems import ProblemType
from amends_contracts.topology import Topology
from amends_migrations.urls import plain_url
from amends_orchestrator.core import TERMINAL, Plan, Refused, SagaStatus, compile_plan, resolve
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.inputs import CancelRequested, RetryRequested
from amends_orchestrator.core.plan import ActionNode
from amends_orchestrator.drills import allowed, evidence
from amends_orchestrator.drills.evidence import Past
from amends_orchestrator.drills.gateway import Gateway, Play, effects_of
from amends_orchestrator.drills.invariants import Asking, Invariant
from amends_orchestrator.drills.matrix import CALM_CELL, DOUBTED, KINDS, Cell, Fault, cells
from amends_orchestrator.drills.oracle import fitting, foresee
from amends_orchestrator.drills.outside import Outside
from amends_orchestrator.drills.pace import Pace, hurried
from amends_orchestrator.drills.private import PrivateOrchestrator
from amends_orchestrator.drills.results import Result, Verdict
from amends_orchestrator.drills.reviewers import Reviewers
from amends_orchestrator.drills.scripts import Script
from amends_orchestrator.drills.verdict import Facts, judge
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.definitions import Definitions, Registered
from amends_orchestrator.store.pasts import Connection

BY: Final = "drill"
POLL_S: Final = 0.01
HELLO_S: Final = 40.0
"""A hello comes at a participant's start and every 30 s."""
PING_S: Final = 5.0
STARTS_MAX: Final = 50
Variant: TypeAlias = tuple[Plan, int]
"""A plan with its version."""


class CannotDrill(Exception):
    """Why nothing can be drilled; `remedy` says what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be drilled, and how."""

    definition: Definition
    input: Json
    invariants: Sequence[Invariant] = ()
    sandbox: Mapping[str, str] = field(default_factory=dict[str, str])
    """By service without SDK, what it acts on: the operator's own word for it."""
    pace: Pace = field(default_factory=Pace)
    hello_s: float = HELLO_S
    end_s: float = 30.0
    """The longest that a cell's saga, or its undo, may take."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A drill that can begin."""

    usual: Variant
    unprobed: Variant
    """The same without probes, for the faults whose point is a doubt that nobody settles."""
    undecided: Variant
    """The same with reviews that expire soon, for the fault that nobody decides."""
    barred: Mapping[str, str]
    """By step id, why it may not be drilled."""
    obeying: frozenset[str]
    """Services that follow orders."""

    @property
    def plan(self) -> Plan:
        """The plan of most cells."""
        return self.usual[0]

    def plan_of(self, cell: Cell) -> Variant:
        """The plan that a cell runs, and its version."""
        if cell.fault in DOUBTED:
            return self.unprobed
        return self.undecided if cell.fault is Fault.REVIEW_EXPIRED else self.usual


class Drill:
    """One drill: `prepare`, then `run` its cells."""

    def __init__(
        self,
        order: Order,
        store: PostgresStore,
        inner: PrivateOrchestrator,
        gateway: Gateway,
        expressions: Expressions,
        reading: Connection,
    ) -> None:
        self._order = order
        self._store = store
        self._inner = inner
        self._gateway = gateway
        self._expressions = expressions
        self._reading = reading
        """A connection of its own, for short reads."""
        self._asking = Asking(order.invariants)
        self._outputs: dict[StepPath, Json] = {}
        self._paths: list[StepPath] = []
        self._reviewed: list[StepPath] = []
        self._reviewers = Reviewers(reading, inner, gateway)
        self._prepared: Prepared | None = None
        self.run_id = secrets.token_hex(4)

    @property
    def prepared(self) -> Prepared:
        """What `prepare` found."""
        assert self._prepared is not None
        return self._prepared

    # --- before --------------------------------------------------------------------------------

    async def prepare(self) -> Prepared:
        """Meet the participants, and see what may be drilled. CannotDrill."""
        services = _services(self._order.definition)
        self._gateway.serve(services)
        await self._meet(services)
        commands = {
            name: info
            for instances in self._gateway.hellos.values()
            for hello in instances.values()
            for name, info in hello.commands.items()
        }
        resolved = resolve(self._order.definition, commands)
        pace = self._order.pace
        plan = compile_plan(hurried(resolved, pace), self._expressions)
        if not any(isinstance(n, ActionNode) and n.undo is not None for n in plan.nodes.values()):
            raise CannotDrill(
                f"{self._order.definition.name} has no step that can be undone: there is nothing"
                " to prove.",
                "Give a step a compensation, or drill another definition.",
            )
        usual = await self._variant(hurried(resolved, pace))
        unprobed = await self._variant(hurried(resolved, pace, probes=False))
        undecided = await self._variant(hurried(resolved, pace, decided=False))
        barred = allowed.barred(plan, self._gateway.hellos, self._order.sandbox)
        self._gateway.allowed = {
            node.command
            for node in plan.nodes.values()
            if isinstance(node, ActionNode) and node.id not in barred
        }
        obeying = frozenset(s for s in services if allowed.obeys(s, self._gateway.hellos))
        self._prepared = Prepared(usual, unprobed, undecided, barred, obeying)
        return self._prepared

    async def _meet(self, services: Collection[str]) -> None:
        """Wait until every service has said hello, or is known by the operator, and answers."""
        wanted = set(services) - self._order.sandbox.keys()
        until = time.monotonic() + self._order.hello_s
        while missing := wanted - self._gateway.hellos.keys():
            if time.monotonic() > until:
                named = ", ".join(sorted(missing))
                raise CannotDrill(
                    f"Nobody has heard of {named} within {self._order.hello_s:g} s.",
                    "Start the service; or, if it says no `hello`, say what it acts on:"
                    f" --sandbox {min(missing)}='a test account'",
                )
            await asyncio.sleep(POLL_S)
        ping = evidence.new_saga()
        found = await asyncio.gather(*(self._gateway.ledger(s, ping, PING_S) for s in services))
        mute = sorted(s for s, reply in zip(services, found, strict=True) if reply is None)
        if mute:
            raise CannotDrill(
                f"{', '.join(mute)} cannot be reached: a command was not answered.",
                "Start the service, and see that AMENDS_PREFIX is the same.",
            )

    async def _variant(self, definition: Definition) -> Variant:
        """A definition in a hurry, compiled and kept under the next version that is free."""
        plan = compile_plan(definition, self._expressions)
        definitions = Definitions(self._store.engine)
        while True:
            document, digest = dump_definition(definition), definition_digest(definition)
            if await definitions.register(document, digest) is not Registered.CONFLICT:
                self._inner.engine.catalog.forget_newest(definition.name)
                return plan, definition.version
            definition = definition.model_copy(update={"version": definition.version + 1})

    # --- the cells -----------------------------------------------------------------------------

    async def run(
        self,
        wanted: Callable[[Cell], bool],
        begin: Callable[[Sequence[Cell]], Awaitable[None]],
    ) -> AsyncGenerator[Result]:
        """Each wanted cell's result as it comes. `begin` is told all cells once they are known.

        The calm one always runs: the oracle takes the outputs from it.
        """
        calm = await self.cell(CALM_CELL)
        every = cells(self.prepared.plan, self._paths, self._reviewed)
        await begin(every)
        yield calm
        for cell in every[1:]:
            if wanted(cell):
                yield await self.cell(cell)

    async def cell(self, cell: Cell) -> Result:
        """Run one cell to its end."""
        began = time.monotonic()
        why = self._cannot(cell)
        if why:
            return Result(cell=cell, verdict=Verdict.INCONCLUSIVE, at=_now(), took_s=0.0, why=why)
        plan, _ = self.prepared.plan_of(cell)
        script = Script(
            cell, obeys=self._obeys_at(cell.step), barred=frozenset(self.prepared.barred)
        )
        foreseen = None
        if cell != CALM_CELL:
            script, foreseen = fitting(plan, self._order.input, self._outputs, script)
            if foreseen is not None and foreseen.status not in TERMINAL:
                why = f"under this fault only a person could end the saga: it is {foreseen.status}"
                return Result(
                    cell=cell, verdict=Verdict.INCONCLUSIVE, at=_now(), took_s=0.0, why=why
                )
        play = Play(script)
        self._gateway.expect(play)
        await self._asking.before()
        trace = Trace(f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
        at = _now()
        facts, past, undo = await self._played(cell, play, trace)
        if cell == CALM_CELL:
            self._learn(past)
            foreseen = foresee(
                plan,
                self._order.input,
                self._outputs,
                Script(cell, barred=frozenset(self.prepared.barred)),
            )
        facts = evidence.judged_with(facts, foreseen)
        judged = judge(facts)
        return evidence.result(
            cell,
            judged,
            facts,
            play,
            past,
            undo,
            at=at,
            took_s=time.monotonic() - began,
            trace_id=trace.traceparent[3:35],
        )

    def _cannot(self, cell: Cell) -> str:
        node = self.prepared.plan.node_of(cell.step) if cell.step else None
        if node is None:
            return ""
        if node.id in self.prepared.barred:
            return self.prepared.barred[node.id]
        if KINDS[cell.fault].inside and not self._obeys_at(cell.step):
            assert isinstance(node, ActionNode)
            return f"{node.service} does not follow a drill's orders, and this is done from within"
        return ""

    def _obeys_at(self, step: StepPath) -> bool:
        node = self.prepared.plan.action_of(step)
        return node is not None and node.service in self.prepared.obeying

    def _learn(self, past: Past | None) -> None:
        """What the calm run went through, and what it was answered."""
        if past is None:
            return
        self._outputs = evidence.outputs(past)
        self._paths, self._reviewed = evidence.paths(past), evidence.reviewed(past)

    async def _played(
        self, cell: Cell, play: Play, trace: Trace
    ) -> tuple[Facts, Past | None, Past | None]:
        """Start the saga, wait for its end, look; undo what completed, and look again."""
        plan, version = self.prepared.plan_of(cell)
        play.opened_at = time.monotonic()
        saga_id = await self._started(cell, version, trace)
        if saga_id is None:
            return Facts(cell=cell, plan=plan), None, None
        past = await self._ended(saga_id)
        await self._quiet(play)
        ledger, silent = await self._ledgers(saga_id)
        after, undo, refused = ledger, None, ""
        if past is not None and past.saga.status is SagaStatus.COMPLETED:
            undo, refused = await self._undone(saga_id)
            await self._quiet(play)
            after, _ = await self._ledgers(saga_id)
        invariants = await self._asking.after(saga_id)
        facts = Facts(
            cell=cell,
            plan=plan,
            saga=None if past is None else past.saga,
            violations=[] if past is None else evidence.violations(past, play, ledger, silent),
            ledger=ledger,
            ledger_after=after,
            undo=None if undo is None else undo.saga,
            undo_refused=refused,
            silent=silent,
            late=evidence.late(play),
            twice=evidence.twice(play),
            slow=evidence.slow(cell, past),
            invariants=invariants,
            refused=_refusal(play),
        )
        return facts, past, undo

    async def _started(self, cell: Cell, version: int, trace: Trace) -> SagaId | None:
        """Start it; whoever is killed meanwhile is asked again under the same key."""
        start = Start(
            definition=self._order.definition.name,
            version=version,
            key=f"{self.run_id}:{secrets.token_hex(4)}:{cell}",
            input=self._order.input,
        )
        for _ in range(STARTS_MAX):
            await self._inner.ready()
            answer = await self._inner.engine.start(TENANT, BY, start, trace=trace)
            if isinstance(answer, StartAnswer):
                return answer.saga_id
            if answer.type is not ProblemType.NOT_READY:
                raise CannotDrill(
                    f"The saga was not started: {answer.detail}",
                    "Give an --input that fits the definition.",
                )
        return None

    async def _ended(self, saga_id: SagaId) -> Past | None:
        """The saga when it has ended, or as it is when its time is over."""
        until = time.monotonic() + self._order.end_s
        while time.monotonic() < until:
            status = await evidence.status(self._reading, saga_id)
            if status in TERMINAL or status is SagaStatus.STUCK:
                break
            await self._reviewers.attend(saga_id)
            await asyncio.sleep(POLL_S)
        return await evidence.read(self._reading, saga_id, self._expressions)

    async def _undone(self, saga_id: SagaId) -> tuple[Past | None, str]:
        await self._inner.ready()
        asked = Undo(saga_id=saga_id, reason="the end of a drill", across_pivot=True)
        answer = await self._inner.engine.undo(TENANT, BY, asked)
        if isinstance(answer, Refused):
            return None, answer.detail
        return await self._ended(answer.saga_id), ""

    async def _quiet(self, play: Play) -> None:
        """Wait until every participant has answered what it was told, or is not going to."""
        until = time.monotonic() + 4 * self._order.pace.timeout_s
        while play.owed > 0 and time.monotonic() < until:  # noqa: ASYNC110 - it is counted, not set
            await asyncio.sleep(POLL_S)

    async def _ledgers(self, saga_id: SagaId) -> tuple[dict[StepPath, str], frozenset[str]]:
        """What all services hold for a saga, and which of them keep no ledger."""
        services = _services(self._order.definition)
        found: dict[StepPath, str] = {}
        silent: set[str] = set()
        replies = [self._gateway.ledger(service, saga_id, PING_S) for service in services]
        for service, reply in zip(services, await asyncio.gather(*replies), strict=True):
            effects = None if reply is None else effects_of(reply)
            if effects is None:
                silent.add(service)
            else:
                found |= effects
        return found, frozenset(silent)

    # --- before and after ----------------------------------------------------------------------

    async def clean_up(self) -> int:
        """End and undo what a drill that was interrupted has left; how many sagas."""
        left = await evidence.left(self._reading)
        self._gateway.expect(Play(Script(CALM_CELL)))
        for saga_id, status in left:
            await self._inner.ready()
            if status is SagaStatus.RUNNING:
                cancel = CancelRequested(reason="the drill was interrupted", by=BY)
                await self._inner.engine.submit(TENANT, saga_id, cancel)
            past = await self._ended(saga_id)
            if past is not None and past.saga.status is SagaStatus.STUCK:
                past = await self._tried_again(saga_id, past)
            if past is not None and past.saga.status is SagaStatus.COMPLETED:
                await self._undone(saga_id)
        return len(left)

    async def _tried_again(self, saga_id: SagaId, past: Past) -> Past | None:
        """What was stuck in the last drill may work now: a participant was mended."""
        for path, step in past.saga.state.steps.items():
            if step.is_blocked:
                retry = RetryRequested(path=path, reason="the next drill cleans up", by=BY)
                await self._inner.engine.submit(TENANT, saga_id, retry)
        return await self._ended(saga_id)

    async def left(self) -> tuple[str, ...]:
        """What is not at its end when it should be: the drill's look at itself."""
        return tuple(f"saga {s} is {status}" for s, status in await evidence.left(self._reading))


@asynccontextmanager
async def opened(
    order: Order,
    outside: Outside,
    topology: Topology,
    expressions: Expressions,
    *,
    database_url: str,
    secret: str,
    allow_unsafe: bool = False,
) -> AsyncGenerator[Drill]:
    """A drill with its own orchestrator over its own database; closed afterwards."""
    store = await PostgresStore.open(database_url, partitions=1, allow_unsafe=allow_unsafe)
    inner = PrivateOrchestrator(store, topology, expressions)
    cancelling: set[asyncio.Task[None]] = set()

    async def cancel_now(saga_id: SagaId) -> None:
        asked = CancelRequested(reason="the drill cancels it here", by=BY)
        await inner.engine.submit(TENANT, saga_id, asked)

    def cancel(saga_id: SagaId) -> None:
        task = asyncio.create_task(cancel_now(saga_id))
        cancelling.add(task)
        task.add_done_callback(cancelling.discard)

    gateway = Gateway(inner, outside, secret=secret, cancel=cancel)
    reading = await asyncpg.connect(plain_url(database_url))
    try:
        await gateway.open()
        await inner.start()
        yield Drill(order, store, inner, gateway, expressions, reading)
    finally:
        await inner.stop()
        await gateway.close()
        await asyncio.gather(*cancelling, return_exceptions=True)
        await reading.close()
        await store.close()


def _services(definition: Definition) -> tuple[str, ...]:
    return evidence.services_of(definition)


def _refusal(play: Play) -> str:
    """A participant that takes no part says so with a type of its own."""
    for seen in play.seen:
        if seen.what == "reply" and seen.detail == ProblemType.DRILL_REFUSED:
            return (
                f"the participant of {seen.path} refuses the drill: its AMENDS_DRILL_SECRET is not"
                " that of the drill"
            )
    return ""


def _now() -> datetime:
    return datetime.now(UTC)
