"""The record of drills: runs that are gone on with, cells, proofs and what a gate asks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from amends_migrations.urls import engine_for
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.store.drills import DrillRecord

NOW = datetime.now(UTC)


def cell(step: str, fault: str, verdict: str = "pass") -> dict[str, Any]:
    """A cell, in as many words as the record asks for."""
    return {"step": step, "fault": fault, "verdict": verdict}


@pytest.fixture
async def record(migrated_database_url: str) -> Any:
    """An empty record."""
    engine = engine_for(migrated_database_url, application="tests")
    yield DrillRecord(engine)
    await engine.dispose()


async def begin(record: DrillRecord, digest: str = "d", definition: str = "trip") -> Any:
    """A run, of the trip if nothing else is said."""
    run_id = uuid7()
    about = {"definition": definition, "version": 1, "digest": digest, "against": "this process"}
    await record.begin(run_id, **about)  # type: ignore[arg-type]  # as above
    return run_id


async def test_a_run_that_was_interrupted_is_found_until_it_is_over(record: DrillRecord) -> None:
    """By what it drills: another input is another run."""
    run_id = await begin(record)
    assert await record.interrupted("trip", "d") == run_id
    assert await record.interrupted("trip", "other") is None
    await record.end(run_id, ["flight at flights"])
    assert await record.interrupted("trip", "d") is None
    (row,) = await record.runs("trip")
    assert (row.status, row.held, row.passed) == ("over", ["flight at flights"], 0)


async def test_a_cell_says_what_it_came_to_the_last_time(record: DrillRecord) -> None:
    """Tried again in the same run it is replaced."""
    run_id = await begin(record)
    await record.keep(run_id, cell("flight", "calm", "fail"), at=NOW, proven=[])
    await record.keep(run_id, cell("flight", "calm"), at=NOW, proven=["flight"])
    assert await record.cells(run_id) == [cell("flight", "calm")]


async def test_each_undo_has_the_time_of_its_last_proof(record: DrillRecord) -> None:
    """Over all runs of its definition."""
    for days in (9, 2):
        run_id = await begin(record, f"d{days}")
        at = NOW - timedelta(days=days)
        await record.keep(run_id, cell("flight", "calm"), at=at, proven=["flight", "hotel"])
    run_id = await begin(record, "d1")
    await record.keep(run_id, cell("flight", "late"), at=NOW, proven=["hotel"])
    proofs = {p.step: (int(p.age_s // 86_400), p.times) for p in await record.proofs("trip")}
    assert proofs == {"flight": (2, 2), "hotel": (0, 3)}


async def test_the_gate_asks_the_newest_matrix(record: DrillRecord) -> None:
    """A cell that the newest run has not reached yet counts by its run before; others are gone."""
    old = await begin(record, "old")
    await record.keep(old, cell("flight", "calm"), at=NOW - timedelta(days=40), proven=[])
    await record.keep(old, cell("dropped", "calm", "fail"), at=NOW, proven=[])
    new = await begin(record, "new")
    await record.keep(new, cell("flight", "calm", "fail"), at=NOW, proven=[])
    await record.keep(new, cell("hotel", "calm"), at=NOW, proven=[])
    found = [(c.step, c.verdict) for c in await record.newest_cells("trip")]
    assert found == [("flight", "fail"), ("hotel", "pass")]


async def test_of_each_definition_the_newest_run_is_found(record: DrillRecord) -> None:
    """Newest first and no more than asked for; one alone by its id; all runs of one definition."""
    first = await begin(record)
    refund = await begin(record, definition="refund")
    second = await begin(record)
    await record.keep(second, cell("flight", "calm"), at=NOW, proven=[])
    assert [row.id for row in await record.newest_runs()] == [second, refund]
    assert [row.id for row in await record.newest_runs(1)] == [second]
    assert [row.id for row in await record.runs("trip")] == [second, first]
    found = await record.run(second)
    assert found is not None
    assert (found.id, found.passed) == (second, 1)
    assert await record.run(uuid7()) is None
