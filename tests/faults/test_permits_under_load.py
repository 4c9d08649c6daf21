"""Limits over real servers: an orchestrator dies while it holds grants, a key floods."""

from pathlib import Path

import pytest

from amends_contracts.messages import Json
from engine.harness import action
from faults.cluster import Cluster, cluster, register

pytestmark = pytest.mark.slow
PLACES = 4
HELD = "SELECT count(*) FROM amends.permit WHERE state IN ('granted', 'held')"
OPEN = "SELECT count(*) FROM amends.permit WHERE state <> 'returned'"
ENDED = "SELECT count(*) FROM amends.saga WHERE ended_at IS NOT NULL"


def stay(**limit: Json) -> dict[str, Json]:
    """Three steps, as every saga here has; the second with a limit."""
    return {
        "name": "stay",
        "version": 1,
        "steps": [
            action("flight", "flights.reserve"),
            action("hotel", "hotels.book", input={"to": "${ input.to }"}, limit=limit),
            action("card", "payments.charge"),
        ],
    }


async def shares(c: Cluster) -> bool:
    """Each of the two orchestrators has half of the partitions."""
    return await c.owners() == [8, 8]


async def test_an_orchestrator_is_killed_while_it_holds_grants(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """Nothing is lost, and in the participant there are never more at work than may be."""
    await register(migrated_database_url, stay(concurrency=PLACES))
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 2) as c:
        await c.when(lambda: shares(c))
        c.services.takes_s = 0.05
        await c.start([f"k{n}" for n in range(120)], definition="stay")
        await c.until(ENDED, lambda n: n >= 10)
        assert await c.until(HELD, lambda n: n > 0)
        c.orchestrators[0].kill()
        assert await c.all_end(120) == {"completed": 120}
        assert c.services.most["hotels.book"] == PLACES
        assert c.services.most["flights.reserve"] > PLACES, "nothing else was held back"
        await c.until(OPEN, lambda n: n == 0)
        await c.check_promises()
        await c.outbox_empties()


async def test_a_key_that_floods_leaves_others_their_turns(
    migrated_database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> None:
    """Ten that come after a hundred are served among the first, not at the end."""
    await register(migrated_database_url, stay(key="${ input.to }", total=PLACES))
    async with cluster(migrated_database_url, broker_url, wire_prefix, tmp_path, 2) as c:
        await c.when(lambda: shares(c))
        c.services.takes_s = 0.05
        await c.start([f"f{n}" for n in range(100)], to="Rome", definition="stay")
        await c.until(ENDED, lambda n: n >= 1)
        await c.start([f"o{n}" for n in range(10)], to="Oslo", definition="stay")
        assert await c.all_end(110) == {"completed": 110}
        order = [x.json()["to"] for x in c.services.begun if x.type == "hotels.book"]
        last = max(n for n, to in enumerate(order) if to == "Oslo")
        assert last < 80, f"the last of Oslo came as number {last}"
        assert c.services.most["hotels.book"] == PLACES
