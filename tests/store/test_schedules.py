"""Schedules by tenant: added once, listed, removed."""

from dataclasses import replace
from datetime import timedelta

from amends_orchestrator.engine.ports import Schedule
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.schedules import Schedules


async def test_a_schedule_is_of_its_tenant_and_name(store: PostgresStore) -> None:
    """Another's is not seen, and not removed."""
    schedules = Schedules(store.engine)
    now = await schedules.now()
    mine = Schedule(
        tenant="acme",
        name="nightly",
        definition="close-books",
        version=3,
        cron="30 2 * * *",
        zone="UTC",
        input=None,
        labels={},
        catch_up="last",
        catch_up_max=100,
        added_by="ada",
        added_at=now,
        next_at=now + timedelta(hours=1),
    )
    assert await schedules.add(mine) is True
    assert await schedules.add(replace(mine, cron="0 0 * * *")) is False
    assert await schedules.add(replace(mine, tenant="other")) is True
    (found,) = await schedules.list("acme")
    assert replace(found, added_at=now) == mine
    assert await schedules.list("acme", "weekly") == []
    assert await schedules.remove("acme", "nightly") is True
    assert await schedules.remove("acme", "nightly") is False
    assert len(await schedules.list("other", "nightly")) == 1
