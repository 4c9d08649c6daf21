"""Orchestrators as processes, real RabbitMQ and Postgres: killed, paused, joined, under load."""

import signal
from pathlib import Path

import aiormq
import pytest

from amends_contracts.messages import Command, Outcome
from faults.cluster import Cluster, cluster
from faults.participants import Answer, succeed

pytestmark = pytest.mark.slow
RUNNING = "SELECT count(*) FROM amends.saga"
ANSWERED = "SELECT count(*) FROM amends.journal WHERE kind = 'step.succeeded'"


def every_fourth_card_fails(command: Command) -> Answer:
    """A quarter of the sagas is compensated: which, follows from the saga's id."""
    if command.type == "payments.charge" and str(command.saga_id)[-1] in "048c":
        return Outcome.FAILED, {"type": "card-declined"}
    return succeed(command)


async def load(c: Cluster, count: int, prefix: str = "k") -> None:
    """Sagas of which a quarter fails."""
    c.services.decides = every_fourth_card_fails
    await c.start([f"{prefix}{n}" for n in range(count)])


async def test_sagas_complete_and_compensate_over_real_servers(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """One orchestrator: every effect once, every effect of a failed saga undone once."""
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 1) as c:
        await load(c, 60)
        ended = await c.all_end(60)
        assert set(ended) == {"completed", "compensated"}
        await c.check_promises()
        await c.outbox_empties()


async def test_one_of_two_orchestrators_is_killed_under_load(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """200 sagas in flight: all end, every effect once, every compensation once."""
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 2) as c:
        await c.when(lambda: _is(c, [8, 8]))
        c.services.at_work.clear()
        await load(c, 200)
        await c.until(RUNNING, lambda n: n == 200)
        c.services.at_work.set()
        await c.until(ANSWERED, lambda n: n > 0)
        c.orchestrators[0].kill()
        ended = await c.all_end(200)
        assert set(ended) == {"completed", "compensated"}
        await c.check_promises()
        await c.outbox_empties()


async def test_a_paused_orchestrator_comes_back_and_does_no_harm(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """Its lease is over and its partitions are another's: what it still believes is fenced."""
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 2) as c:
        await c.when(lambda: _is(c, [8, 8]))
        await load(c, 200)
        await c.until(RUNNING, lambda n: n >= 40)
        c.orchestrators[0].signal(signal.SIGSTOP)
        await c.when(lambda: _is(c, [16]))
        c.orchestrators[0].signal(signal.SIGCONT)
        await c.all_end(200)
        await c.when(lambda: _is(c, [8, 8]))
        await c.check_promises()
        await c.outbox_empties()


async def test_partitions_rebalance_when_a_third_joins_and_one_leaves(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """Ownership follows who is there, under load, and sagas do not notice."""
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 2) as c:
        await c.when(lambda: _is(c, [8, 8]))
        await load(c, 100, "a")
        c.join()
        await c.when(lambda: _is(c, [5, 5, 6], [4, 6, 6]))
        await load(c, 100, "b")
        c.orchestrators[0].signal(signal.SIGTERM)
        await c.when(lambda: _is(c, [8, 8]))
        assert c.orchestrators[0].process.wait(60) == 0
        await c.all_end(200)
        await c.check_promises()
        await c.outbox_empties()


async def test_concurrent_starts_with_one_key_make_one_saga(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """Two orchestrators race for it; its effects happen once."""
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 2) as c:
        await c.when(lambda: _is(c, [8, 8]))
        await c.start([key for key in ("one", "two", "three") for _ in range(40)])
        await c.all_end(3)
        await c.when(lambda: _queue_is_empty(c))
        assert (await c.fetch(RUNNING))[0][0] == 3
        await c.check_promises()


async def _is(c: Cluster, *shapes: list[int]) -> bool:
    return await c.owners() in shapes


async def _queue_is_empty(c: Cluster) -> bool:
    """No start waits any more."""
    connection = await aiormq.connect(c.broker_url)
    channel = await connection.channel()
    declared = await channel.queue_declare(c.topology.start, passive=True)
    await connection.close()
    return declared.message_count == 0
