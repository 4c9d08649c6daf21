"""The broker killed and the database restarted under load: every saga ends, every effect once."""

import asyncio
from pathlib import Path

import pytest

from amends_migrations import upgrade
from amends_orchestrator.local.servers import Broker, Server
from faults.cluster import cluster
from faults.test_orchestrators_under_load import RUNNING, load

pytestmark = pytest.mark.slow
SAGAS = 300
QUEUES_SAFE_S = 8.0
"""RabbitMQ 3.10 loses quorum queues that were declared a few seconds before it is killed: they are
listed afterwards and never answer. That is a fact about it, and not what is tested here."""
ENDED = "SELECT count(*) FROM amends.saga WHERE ended_at IS NOT NULL"


async def test_broker_killed_and_database_restarted_under_load(
    own_postgres: Server, own_rabbitmq: Broker, tmp_path: Path
) -> None:
    """First the broker with SIGKILL, then the database; orchestrators stay up and go on."""
    await asyncio.to_thread(upgrade, own_postgres.url)
    async with cluster(own_postgres.url, own_rabbitmq.url, "amends", tmp_path, 2) as c:
        await asyncio.sleep(QUEUES_SAFE_S)
        await load(c, SAGAS)
        await c.until(RUNNING, lambda n: n >= 20)
        await asyncio.to_thread(own_rabbitmq.kill)
        await asyncio.to_thread(own_rabbitmq.restart)
        await c.until(ENDED, lambda n: n >= 20)
        await asyncio.to_thread(own_postgres.kill)
        await asyncio.to_thread(own_postgres.restart)
        await c.all_end(SAGAS)
        await c.check_promises()
        await c.outbox_empties()
        assert [one.process.poll() for one in c.orchestrators] == [None, None]


async def test_a_database_away_for_longer_than_a_lease_loses_nothing(
    own_postgres: Server, own_rabbitmq: Broker, tmp_path: Path
) -> None:
    """Partitions are let go by the orchestrator's own clock, and taken again afterwards."""
    await asyncio.to_thread(upgrade, own_postgres.url)
    async with cluster(own_postgres.url, own_rabbitmq.url, "amends", tmp_path, 1) as c:
        await load(c, 100)
        await c.until(RUNNING, lambda n: n >= 20)
        await asyncio.to_thread(own_postgres.kill)
        log = c.orchestrators[0].log
        await c.when(lambda: _says(log, "lease not renewed in time"))
        await asyncio.to_thread(own_postgres.restart)
        await c.all_end(100)
        await c.check_promises()
        await c.outbox_empties()


async def _says(log: Path, text: str) -> bool:
    return text in await asyncio.to_thread(log.read_text)
