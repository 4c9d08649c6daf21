"""What `amends drill` does: bring up what is needed, drill, record, and report.

Embedded, everything is in this process but Postgres, whose data stays in `.amends/drills`: the
record, and what a drill that was interrupted has left. Against a broker, the record is in the
orchestrator's database, and the drill's own orchestrator in a second one beside it.
"""

import asyncio
import hashlib
import json
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from amends_contracts.definition import Definition
from amends_contracts.documents import dump_definition
from amends_contracts.topology import Topology
from amends_migrations import upgrade
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.cli import schema
from amends_orchestrator.cli.drill_screen import Screen
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.drills import reports, runner
from amends_orchestrator.drills.invariants import Invariant
from amends_orchestrator.drills.matrix import CALM_CELL, Cell, Fault
from amends_orchestrator.drills.outside import AmqpOutside, BrokerAway, MemoryOutside, Outside
from amends_orchestrator.drills.pace import Pace
from amends_orchestrator.drills.results import Result, Verdict
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.ports import StoreUnavailable
from amends_orchestrator.local import folders, servers
from amends_orchestrator.store.drills import DrillRecord, Proof
from amends_orchestrator.transport.memory import MemoryBroker

HOME: Final = Path(".amends") / "drills"
ENGINE_DATABASE: Final = "amends"
SUFFIX: Final = "_drills"
"""Of the database of a drill's own orchestrator."""
AT_HOME: Final = {"sweep_s": 0.3, "busy_s": 0.5, "hello_s": 5.0}
"""Embedded participants look often for what a killed one has left."""
Participants = Callable[[Topology, MemoryBroker, str, str], AbstractAsyncContextManager[None]]
"""Runs the embedded participants: topology, broker, database, secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a drill was asked to do, apart from where."""

    definition: Definition
    input: Mapping[str, Any]
    invariants: Sequence[Invariant] = ()
    sandbox: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 0.5
    steps: Collection[str] = ()
    """Only these; empty: all."""
    faults: Collection[Fault] = ()
    fresh: bool = False
    """Do not go on with a run that was interrupted."""
    prefix: str = "amends"

    def wants(self, cell: Cell) -> bool:
        """Whether a cell is among those asked for."""
        return (not self.steps or cell.step in self.steps) and (
            not self.faults or cell.fault in self.faults
        )

    def digest(self, against: str) -> str:
        """Of all that must be the same for an interrupted run to be gone on with."""
        said = [
            dump_definition(self.definition),
            dict(self.input),
            [i.name for i in self.invariants],
            dict(self.sandbox),
            sorted(self.steps),
            sorted(self.faults),
            against,
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a drill happens."""

    against: str
    """As it is shown and recorded."""
    outside: Outside
    engine_url: str
    record_url: str
    secret: str
    participants: AbstractAsyncContextManager[None]
    """Runs what is embedded, while it is entered."""


async def against(asked: Asked, broker_url: str, database_url: str, screen: Screen) -> Any:
    """Drill the participants that run behind a broker. The report."""
    secret = os.environ.get("AMENDS_DRILL_SECRET") or secrets.token_urlsafe(32)
    name = schema.database_of(database_url)
    engine_url = schema.with_database(database_url, name + SUFFIX)
    await schema.create_databases(database_url, [name + SUFFIX])
    await asyncio.to_thread(upgrade, engine_url)
    place = Place(
        against=schema.without_password(broker_url),
        outside=AmqpOutside(broker_url, Topology(asked.prefix)),
        engine_url=engine_url,
        record_url=database_url,
        secret=secret,
        participants=nullcontext(),
    )
    return await _drill(asked, place, screen)


async def embedded(asked: Asked, url: str, participants: Participants, screen: Screen) -> Any:
    """Drill participants in this process, over a Postgres that runs. The report."""
    topology, broker, secret = Topology(asked.prefix), MemoryBroker(), secrets.token_urlsafe(32)
    place = Place(
        against="this process",
        outside=MemoryOutside(broker, topology),
        engine_url=url,
        record_url=url,
        secret=secret,
        participants=participants(topology, broker, url, secret),
    )
    return await _drill(asked, place, screen)


async def _drill(asked: Asked, place: Place, screen: Screen) -> Any:
    order = runner.Order(
        definition=asked.definition,
        input=dict(asked.input),
        invariants=asked.invariants,
        sandbox=asked.sandbox,
        pace=Pace(timedelta(seconds=asked.timeout_s)),
    )
    topology = Topology(asked.prefix)
    opened = runner.opened(
        order,
        place.outside,
        topology,
        CelExpressions(),
        database_url=place.engine_url,
        secret=place.secret,
        allow_unsafe=True,
    )
    with _explained(place):
        async with schema.opened(place.record_url) as engine, opened as drill, place.participants:
            record = DrillRecord(engine)
            screen.say("meeting the participants")
            await drill.prepare()
            screen.say("looking for what an interrupted drill has left")
            await drill.clean_up()
            return await _run(asked, place, drill, record, screen)


async def _run(
    asked: Asked, place: Place, drill: runner.Drill, record: DrillRecord, screen: Screen
) -> Any:
    began, clock = datetime.now(UTC), time.monotonic()
    run_id, cells = await _begun(asked, place, record)
    done = {Cell(cell["step"], Fault(cell["fault"])) for cell in cells}

    async def begin(every: Sequence[Cell]) -> None:
        wanted = [cell for cell in every if cell == CALM_CELL or asked.wants(cell)]
        await record.count(run_id, len(wanted))
        screen.begin(wanted)
        for cell in cells:
            screen.add(cell)

    def is_wanted(cell: Cell) -> bool:
        return asked.wants(cell) and cell not in done

    screen.say("nothing goes wrong")
    async for result in drill.run(is_wanted, begin):
        cells.append(result.to_json())
        await _keep(record, run_id, result)
        screen.add(cells[-1])
    held = [h for cell in cells for h in cell["held"]] + list(await drill.left())
    await record.end(run_id, held)
    return reports.report(
        definition=asked.definition.name,
        version=asked.definition.version,
        against=place.against,
        run_id=str(run_id),
        began_at=began.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
        cells=cells,
        held=list(dict.fromkeys(held)),
        proofs=[said(proof) for proof in await record.proofs(asked.definition.name)],
    )


async def _begun(
    asked: Asked, place: Place, record: DrillRecord
) -> tuple[UUID, list[Mapping[str, Any]]]:
    """A new run, or the one that was interrupted, with its cells."""
    definition, digest = asked.definition, asked.digest(place.against)
    before = None if asked.fresh else await record.interrupted(definition.name, digest)
    if before is not None:
        # The calm cell is run again, for the oracle needs what it was answered.
        return before, [cell for cell in await record.cells(before) if cell["step"]]
    run_id = uuid7()
    await record.begin(
        run_id,
        definition=definition.name,
        version=definition.version,
        digest=digest,
        against=place.against,
    )
    return run_id, []


async def _keep(record: DrillRecord, run_id: UUID, result: Result) -> None:
    passed = result.verdict is Verdict.PASS
    proven = sorted(result.undos.verified) if passed else []
    await record.keep(run_id, result.to_json(), at=result.at, proven=proven)


def said(proof: Proof) -> dict[str, Any]:
    """A proof with its age in words."""
    return {
        "definition": proof.definition,
        "step": proof.step,
        "at": proof.at.isoformat(timespec="seconds"),
        "days": int(proof.age_s // reports.DAY_S),
        "said": reports.age(proof.age_s),
        "times": proof.times,
    }


@contextmanager
def _explained(place: Place) -> Any:
    try:
        yield
    except runner.CannotDrill as error:
        raise CliError(str(error), error.remedy, exit_code=Exit.REFUSED) from error
    except StoreUnavailable as error:
        raise schema.unreachable(place.engine_url, error) from error
    except TimeoutError as error:
        raise CliError(
            "The drill's own orchestrator does not begin to work.",
            "Another drill may be under way on this database: await its end.",
            exit_code=Exit.TIMEOUT,
        ) from error
    except BrokerAway as error:
        raise CliError(
            f"The broker {place.against} cannot be reached.",
            "Check --against and AMENDS_PREFIX, and that an orchestrator has been there.",
            exit_code=Exit.UNREACHABLE,
        ) from error


# --- what is embedded ----------------------------------------------------------------------------


@contextmanager
def home_server(say: Callable[[str], None]) -> Any:
    """A migrated Postgres whose data stays here; a temporary one where it cannot."""
    home = Path.cwd() / HOME
    try:
        folder = folders.owned(home / "postgres", None, 0o711)
        for parent in (home.parent, home):
            parent.chmod(0o711)
        server = servers.postgres(folder=folder, first=servers.Way.PRIVATE, environ={})
    except folders.UnreachableFolder as error:
        say(f"no record is kept: {error}")
        server = servers.postgres(first=servers.Way.PRIVATE, environ={})
    try:
        asyncio.run(schema.create_databases(server.url, [ENGINE_DATABASE]))
        url = schema.with_database(server.url, ENGINE_DATABASE)
        upgrade(url)
        yield url
    finally:
        server.stop()


def participants_of(apps: Sequence[Any]) -> Participants:
    """Runs these apps in this process, with drills enabled."""

    @asynccontextmanager
    async def running(
        topology: Topology, broker: MemoryBroker, url: str, secret: str
    ) -> AsyncGenerator[None]:
        from amends_orchestrator.cli.embedded import runtime_of, serving

        runtimes = [
            await runtime_of(app, broker, topology, url, drill_secret=secret, **AT_HOME)
            for app in apps
        ]
        async with serving(runtimes):
            yield

    return running
