"""Schedules in a store: found when they are due, moved on once. Both stores."""

from dataclasses import replace
from datetime import datetime, timedelta

from amends_orchestrator.engine.ports import Schedule, ScheduleMove
from amends_orchestrator.store import MemoryStore, PostgresStore
from amends_orchestrator.store.schedules import Schedules
from conformance.stores import ME, Stage, saga_id


async def nightly(stage: Stage, due_in_s: float, name: str = "nightly") -> Schedule:
    """A schedule in the store."""
    now = await stage.now()
    schedule = Schedule(
        tenant="acme",
        name=name,
        definition="close-books",
        version=None,
        cron="30 2 * * *",
        zone="Europe/Zurich",
        input={"country": "CH", "ü": [1, None]},
        labels={"kind": "batch"},
        catch_up="all",
        catch_up_max=7,
        added_by="ada",
        added_at=now,
        next_at=now + timedelta(seconds=due_in_s),
    )
    if isinstance(stage.store, MemoryStore):
        stage.store.schedules["acme", name] = schedule
    else:
        assert isinstance(stage.store, PostgresStore)
        assert await Schedules(stage.store.engine).add(schedule)
    return schedule


async def due(stage: Stage) -> list[Schedule]:
    """What is due; when it was added is the store's own time."""
    now, found = await stage.store.due_schedules(10)
    assert now.tzinfo is not None
    return [replace(s, added_at=s.next_at) for s in found]


def move(schedule: Schedule, next_at: datetime, problem: str | None = None) -> ScheduleMove:
    """A look at it."""
    return ScheduleMove(
        tenant="acme",
        name=schedule.name,
        seen=schedule.next_at,
        next_at=next_at,
        last_at=None if problem else schedule.next_at,
        last_saga_id=None if problem else saga_id(),
        last_problem=problem,
    )


async def test_what_is_due_is_found_longest_due_first(stage: Stage) -> None:
    """And a tick says that there is something."""

    async def ticked() -> bool:
        return (await stage.store.tick(ME, lease_s=3, claim=True, limit=1)).schedules

    await nightly(stage, 3600, "later")
    assert await due(stage) == []
    assert await ticked() is False
    second = await nightly(stage, -1, "second")
    first = await nightly(stage, -2, "first")
    assert await due(stage) == [replace(s, added_at=s.next_at) for s in (first, second)]
    assert await ticked() is True


async def test_it_is_moved_on_from_what_was_seen_and_only_once(stage: Stage) -> None:
    """Of two that looked, the second changes nothing."""
    schedule = await nightly(stage, -2)
    again = schedule.next_at + timedelta(seconds=1)
    looked = move(schedule, again)
    await stage.store.move_schedule(looked)
    await stage.store.move_schedule(move(schedule, again + timedelta(days=1)))
    (moved,) = await due(stage)
    assert (moved.next_at, moved.last_at) == (again, schedule.next_at)
    assert moved.last_saga_id == looked.last_saga_id
    refused = move(moved, again + timedelta(milliseconds=1), "amends:not-found: no definition")
    await stage.store.move_schedule(refused)
    (moved,) = await due(stage)
    assert moved.last_problem == "amends:not-found: no definition"
    assert moved.last_at == schedule.next_at
