"""Schedules over real servers: who starts by the clock is killed in the middle of it."""

from pathlib import Path

import pytest

from faults.cluster import Cluster, cluster

pytestmark = pytest.mark.slow
TIMES = 300
SAGAS = "SELECT count(*) FROM amends.saga"
OVERDUE = """
INSERT INTO amends.schedule (tenant, name, definition, cron, zone, input, catch_up, catch_up_max,
                             added_by, added_at, next_at)
VALUES ('default', 'minutely', 'trip', '* * * * *', 'UTC', '{"to": "Rome"}', 'all', 1000, 'ada',
        now(), date_trunc('minute', now()) - interval '299 minutes')
"""
MOVED = "SELECT count(*) FROM amends.schedule WHERE next_at > now() - interval '1 minute'"


async def shares(c: Cluster, *shape: int) -> bool:
    """How many partitions each live orchestrator has."""
    return await c.owners() == list(shape)


async def test_who_starts_by_the_clock_is_killed_and_each_time_starts_one_saga(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """Three hundred times were missed; another goes on where the first one died."""
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 1) as c:
        await c.when(lambda: shares(c, 16))
        c.join()
        await c.when(lambda: shares(c, 8, 8))  # the first one keeps the first partition
        await c.fetch(OVERDUE)
        await c.until(SAGAS, lambda n: n >= 3)
        c.orchestrators[0].kill()
        ((there,),) = await c.fetch(SAGAS)
        assert there < TIMES, "it was done before it was killed"
        await c.until(MOVED, lambda n: n == 1)
        rows = await c.fetch("SELECT key, count(*) AS n FROM amends.saga GROUP BY key")
        assert {row["n"] for row in rows} == {1}
        assert TIMES <= len(rows) <= TIMES + 5, "one for each minute, and those that passed since"
        await c.all_end(len(rows))
        await c.check_promises()
