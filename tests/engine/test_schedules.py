"""Starts by the clock through the real engine: each time once, and what was missed by policy."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from amends_contracts.messages import Json
from amends_orchestrator.engine.ports import CatchUp, Schedule
from amends_orchestrator.engine.scheduling import due_times, start_key
from engine.harness import Engine, engine

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def every_hour(next_at: datetime, catch_up: CatchUp = "last", **fields: Json) -> Schedule:
    """A schedule of trips, on the hour."""
    base = Schedule(
        tenant="default",
        name="hourly",
        definition="trip",
        version=None,
        cron="0 * * * *",
        zone="UTC",
        input={"to": "Rome"},
        labels={"by": "clock"},
        catch_up=catch_up,
        catch_up_max=3,
        added_by="ada",
        added_at=next_at,
        next_at=next_at,
    )
    return replace(base, **fields)


@pytest.mark.parametrize(
    ("catch_up", "hours_ago", "expected"),
    [
        ("none", 0, [12]),
        ("none", 5, [12]),
        ("last", 5, [12]),
        ("all", 0, [12]),
        ("all", 2, [10, 11, 12]),
        ("all", 5, [10, 11, 12]),
    ],
)
def test_what_was_missed_is_started_by_policy(
    catch_up: CatchUp, hours_ago: int, expected: list[int]
) -> None:
    """Nothing, the last, or the latest so many in their order; what is on time always."""
    next_at = datetime(2026, 3, 1, 12 - hours_ago, tzinfo=UTC)
    times = due_times(every_hour(next_at, catch_up), NOON)
    assert [at.hour for at in times] == expected


def test_without_catching_up_a_time_that_is_over_is_let_go() -> None:
    """A minute late is still on time."""
    schedule = every_hour(datetime(2026, 3, 1, 12, tzinfo=UTC), "none")
    assert due_times(schedule, NOON + timedelta(minutes=1)) == []


async def fires(e: Engine, schedule: Schedule) -> Schedule:
    """Wait until it has been looked at."""
    e.store.schedules[schedule.tenant, schedule.name] = schedule
    key = schedule.tenant, schedule.name
    await e.until(lambda: e.store.schedules[key].next_at != schedule.next_at)
    return e.store.schedules[key]


async def test_a_schedule_starts_a_saga_and_moves_on() -> None:
    """Its key is made of name and time; who started it stands in the journal."""
    async with engine() as e:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        moved = await fires(e, every_hour(hour))
        assert (moved.last_at, moved.last_problem) == (hour, None)
        assert moved.next_at == hour + timedelta(hours=1)
        assert moved.last_saga_id is not None
        assert await e.ends(moved.last_saga_id) == "completed"
        first = e.store.journal[moved.last_saga_id][0].data
        assert (first["key"], first["by"]) == (start_key("hourly", hour), "schedule hourly (ada)")
        assert e.store.sagas[moved.last_saga_id].labels == {"by": "clock"}


async def test_two_schedulers_start_each_time_once() -> None:
    """Also where one stopped between its start and its move."""
    async with engine() as e:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        schedule = every_hour(hour - timedelta(hours=2), "all")
        first = await fires(e, schedule)
        again = await fires(e, schedule)  # as if it had not been moved
        async with e.another() as other:
            await e.orchestrator.stop()
            await e.until(lambda: len(other.stats().owned) == 4)
            third = await fires(e, schedule)
        assert first.last_saga_id == again.last_saga_id == third.last_saga_id
        assert len(e.store.sagas) == 3


async def test_a_start_that_is_refused_is_shown_and_the_next_time_comes() -> None:
    """No such definition, or an input that does not fit."""
    async with engine() as e:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        moved = await fires(e, every_hour(hour, definition="gone"))
        assert moved.last_problem == "amends:not-found: no definition 'gone' is registered"
        assert moved.next_at == hour + timedelta(hours=1)
        assert moved.last_saga_id is None


async def test_a_schedule_that_cannot_be_read_is_shown_and_harms_nobody() -> None:
    """A zone that this machine does not know, say."""
    async with engine() as e:
        now = datetime.now(UTC)
        moved = await fires(e, every_hour(now - timedelta(minutes=1), zone="Mars/Olympus"))
        assert moved.last_problem is not None
        assert "Mars/Olympus" in moved.last_problem
        assert await e.ends(await e.start("k")) == "completed"
