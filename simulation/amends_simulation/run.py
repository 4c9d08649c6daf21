"""One run: a schedule in, what happened and what the checker says of it out."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from amends_contracts.messages import Json
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import Plan
from amends_orchestrator.core.checker import History, Report, SagaPast, Stored, Violation, check
from amends_orchestrator.core.expressions import ExpressionError
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.store.memory import MemoryStore
from amends_simulation.broker import Broker
from amends_simulation.database import Tables
from amends_simulation.definitions import PROMISED, SERVICES
from amends_simulation.loop import Endless, at_once
from amends_simulation.orchestrators import Clock, Shared
from amends_simulation.people import People
from amends_simulation.schedule import Fault, Schedule
from amends_simulation.services import services_of, start_services
from amends_simulation.world import World

CALM_S: Final = 12.0
"""Then faults are over."""
END_S: Final = 1800.0
"""Then every saga has ended, or one never will."""


class _Kept:
    """An expression engine that compiles each text once for all runs."""

    def __init__(self) -> None:
        self._engine = CelExpressions()
        self.compile = lru_cache(maxsize=1024)(self._engine.compile)
        self.check = self._engine.check

    def evaluate(self, compiled: Any, bindings: Any) -> Json | ExpressionError:
        """As the engine does."""
        return self._engine.evaluate(compiled, bindings)


EXPRESSIONS: Final = _Kept()
PROMISES: Final = dict.fromkeys((f"{name}.do" for name in SERVICES), PROMISED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    schedule: Schedule
    report: Report
    history: History
    happened: tuple[Fault, ...]
    story: tuple[str, ...]
    seconds: float
    """Virtual."""

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Promises that were not kept, and faults of the code itself as promise 0."""
        return self.report.violations


class Run:
    """The parts of one world."""

    def __init__(self, schedule: Schedule, *, tell: bool = False) -> None:
        self.world = World(schedule)
        if tell:
            self.world.story = []
        self.broker = Broker(self.world)
        self.store = MemoryStore(clock=self.world.now, partitions=schedule.partitions)
        clock = Clock(self.world)
        catalog = Catalog(self.store, EXPRESSIONS, clock, newest_for_s=END_S * 2)
        catalog.learn(PROMISES)
        self.shared = Shared(self.world, self.broker, self.store, catalog, {}, [])
        self.plans: dict[str, Plan] = {}
        for document in schedule.documents:
            self.store.definitions[document["name"], document["version"]] = document
            registered = at_once(catalog.get(document["name"], None))
            assert registered is not None, catalog.broken
            self.plans[document["name"]] = registered.plan
        self.people = People(self.world, self.broker, self.shared, self.plans)
        self.tables: list[Tables] = []

    def live(self) -> History:
        """Bad weather, then calm, then perhaps everything once more."""
        schedule, world = self.world.schedule, self.world
        world.loop.run(0.0, self._begin)
        ended = world.loop.run(CALM_S, self.is_over)
        if not ended:
            world.note("faults are over")
            world.faults.over = True
            self.people.calm_down()
            ended = world.loop.run(END_S, self.is_over)
        quiet_at = world.order if ended else None
        if ended and schedule.echo:
            world.faults.over = True
            self._echo()
        return self.history(quiet_at)

    def _begin(self) -> bool:
        if not self.tables:
            names = services_of(self.world.schedule.documents)
            self.tables = start_services(self.world, self.broker, names)
            for _ in range(self.world.schedule.orchestrators):
                self.shared.start_engine()
            self.people.begin()
        return True

    def is_over(self) -> bool:
        """Whether nothing is under way any more."""
        world = self.world
        return not (
            self.shared.open
            or self.people.waiting
            or world.unsettled
            or self.broker.under_way
            or world.pending
            or any(tables.intents or tables.replies for tables in self.tables)
            or any(engine.inbox for engine in self.shared.engines)
        )

    def _echo(self) -> None:
        """Every message that was ever delivered comes once more."""
        self.world.note("every message comes once more")
        for name, message in list(self.broker.delivered):
            self.broker.send(name, message, self.world.chance.random())
        self.world.loop.run(END_S * 2, self.is_over)

    def history(self, quiet_at: int | None) -> History:
        """What there is to be checked."""
        world, store = self.world, self.store
        sagas: list[SagaPast] = []
        for saga_id, saga in store.sagas.items():
            stored = saga.stored
            row = Stored(
                seq=stored.seq,
                status=stored.status,
                state=stored.state,
                residue=saga.residue,
                wake_at=stored.wake_at,
            )
            plan = self.plans[stored.identity.definition]
            rows = tuple(store.journal[saga_id])
            sagas.append(SagaPast(identity=stored.identity, plan=plan, rows=rows, stored=row))
        return History(
            sagas=tuple(sagas),
            commits=tuple(world.commits),
            committed=tuple(world.committed),
            published=tuple(world.published),
            settled=frozenset(world.settled),
            effects=tuple(world.effects),
            heard=tuple(world.heard),
            asked=tuple(world.asked),
            decided=tuple(world.decided) if world.schedule.again else None,
            quiet_at=quiet_at,
            calm=True,
        )


def run(schedule: Schedule, *, tell: bool = False) -> Outcome:
    """Run a schedule and check what came of it. `tell`: keep the story in words."""
    one = Run(schedule, tell=tell)
    try:
        history = one.live()
    except Endless as endless:
        one.world.loop.failures.append(endless)
        history = one.history(None)
    one.world.end()
    report = check(history)
    failures = tuple(
        Violation(0, f"{type(error).__name__}: {error}") for error in one.world.loop.failures
    )
    if one.people.waiting:
        failures += (Violation(13, f"starts never answered: {sorted(one.people.waiting)}"),)
    elif history.quiet_at is None and not one.shared.open:
        left = list(one.world.unsettled) or one.broker.under_way
        failures += (Violation(10, f"never settled: {left}"),)
    report = Report(report.violations + failures, report.checked, report.not_checked)
    return Outcome(
        schedule,
        report,
        history,
        tuple(one.world.faults.happened),
        tuple(one.world.story or ()),
        one.world.loop.time(),
    )
