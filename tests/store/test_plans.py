"""Every statement finds its rows through an index, whatever the size of the tables."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import asyncpg
import pytest

from amends_orchestrator.store import queries
from amends_orchestrator.store.database import open_engine
from server_fixtures import Databases, in_thread

FILES = {
    name: queries.load(name)
    for name in ("hot", "lease", "permits", "schedules", "reads", "admin", "reviews")
}
QUERIES = {name: query for file in FILES.values() for name, query in file.items()}
GROWS = (
    *("saga_", "start_key_", "journal_", "audit_", "outbox_", "permit_", "schedule_"),
    "review_",
)
"""Indexes of tables that grow with the sagas or the load; other tables have a handful of rows."""
SMALL = {
    "partition",
    "orchestrator",
    "participant",
    "api_key",
    "definition",
    "permit_turn",
    "circuit",
}
READ_WHOLE = {"claim_outbox": "outbox_pkey", "stray_outbox": "outbox_pkey", "outbox": "outbox"}
"""What may be read from end to end: the outbox, which holds a few rows per orchestrator."""

INDEXES = {
    "load": {"saga_pkey", "start_key_pkey"},
    "journal_values": {"journal_pkey"},
    "commit_batch": {"saga_pkey", "outbox_pkey"},
    "commit_batch_with_permits": {"saga_pkey", "outbox_pkey", "permit_pkey"},
    "commit_batch_with_reviews": {"saga_pkey", "outbox_pkey", "review_pkey"},
    "commit_batch_with_reviews_permits": {
        "saga_pkey",
        "outbox_pkey",
        "permit_pkey",
        "review_pkey",
    },
    "settle_outbox": {"outbox_pkey"},
    "outbox_row": {"outbox_pkey"},
    "journal_witness": {"journal_pkey"},
    "rearm": {"saga_pkey"},
    "tick": {"saga_wake", "permit_waiting", "permit_unheard", "schedule_next"},
    "due_schedules": {"schedule_next"},
    "move_schedule": {"schedule_pkey"},
    "schedules": {"schedule_pkey"},
    "remove_schedule": {"schedule_pkey"},
    "grant_permits": {
        "permit_pkey",
        "permit_waiting",
        "permit_held",
        "permit_granted",
        "permit_unheard",
        "permit_forget",
        "saga_pkey",
    },
    "return_strays": {"permit_pkey", "permit_held", "saga_pkey"},
    "claim_outbox": {"outbox_pkey"},
    "stray_outbox": {"outbox_pkey"},
    "list_sagas": {"saga_list"},
    "list_sagas_of_definition": {"saga_list_definition"},
    "list_sagas_labelled": {"saga_label_pkey", "saga_pkey"},
    "saga": {"saga_pkey"},
    "saga_by_key": {"start_key_pkey", "saga_pkey"},
    "heads": {"saga_pkey"},
    "changed_since": {"saga_pkey"},
    "journal": {"journal_pkey", "saga_pkey"},
    "counts": {"saga_list"},
    "totals": {"saga_list"},
    "partitions": {"saga_wake"},
    "pools": {"permit_waiting", "permit_held", "permit_unheard"},
    "audit": {"audit_tenant"},
    "audit_of_saga": {"audit_saga"},
    "debt": {"saga_list_definition"},
    "list_reviews_open": {"review_list"},
    "list_reviews_over": {"review_list"},
    "review": {"review_pkey"},
    "review_shown": {"journal_pkey"},
    "review_decisions": {"journal_pkey"},
    "waiting_reviews": {"review_list"},
    "claim_notices": {"review_notify", "review_pkey"},
    "told_notices": {"review_pkey"},
}
"""By statement; the others touch none of those tables, or only add rows."""

FILL = """
INSERT INTO amends.saga (id, started_at, ended_at, wake_at, version, seq, partition, tenant,
                         definition, key, status, state)
SELECT lpad(to_hex(n), 32, '0')::uuid, now(), CASE WHEN n % 10 > 0 THEN now() END,
       CASE WHEN n % 10 = 0 THEN now() + n * interval '1 second' END, 1, 4, n % 16,
       'tenant-' || n % 3, 'definition-' || n % 5, n::text,
       CASE WHEN n % 10 = 0 THEN 'running' ELSE 'completed' END, '{}'
FROM generate_series(1, $1) AS n;
INSERT INTO amends.start_key SELECT tenant, definition, key, 'd', id, now() FROM amends.saga;
INSERT INTO amends.saga_label SELECT tenant, 'city', seq::text, id FROM amends.saga;
INSERT INTO amends.journal (saga_id, seq, at, kind, data)
SELECT id, n, now(), 'k', '{}' FROM amends.saga, generate_series(1, 4) AS n;
INSERT INTO amends.review (saga_id, seq, requested_at, decided_at, notify_at, version, shown_seq,
                           quorum, tenant, definition, key, step, title, status, digest,
                           assignees, approved_by)
SELECT id, 2, started_at, ended_at, CASE WHEN ended_at IS NULL THEN now() END, 1, 2, 1, tenant,
       definition, key, 'sure', 'Sure?',
       CASE WHEN ended_at IS NULL THEN 'open' ELSE 'approved' END, 'd', '{}', '{}'
FROM amends.saga;
INSERT INTO amends.permit (saga_id, step, ask, pool, tenant, key, asked_at, state, granted_at,
                           forget_at, concurrency)
SELECT id, 'room', 1, 'pool-' || version, tenant, key, started_at,
       CASE WHEN ended_at IS NULL THEN 'waiting' WHEN partition < 2 THEN 'held' ELSE 'returned' END,
       CASE WHEN ended_at IS NOT NULL THEN now() END,
       CASE WHEN ended_at IS NOT NULL AND partition >= 2 THEN now() END, 5
FROM amends.saga;
INSERT INTO amends.audit (saga_id, tenant, who, action, outcome)
SELECT id, tenant, 'ada', 'retry', 'done' FROM amends.saga;
"""


async def fill(url: str, sagas: int) -> None:
    """Tables as they are with so many sagas; statistics as autovacuum makes them."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(FILL.replace("$1", str(sagas)))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


@pytest.fixture(scope="module", params=[0, 1_000, 50_000], ids="{} sagas".format)
def filled_url(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """A database with so many sagas. With none the tables are as when the service is new."""
    url = databases.create(template=databases.migrated_template())
    if request.param:
        in_thread(fill(url, request.param))
    yield url
    databases.drop(url)


@pytest.fixture
async def session(filled_url: str) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
    """A session as the store's are."""
    engine = open_engine(filled_url, query_timeout_s=10)
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        yield driver
    await engine.dispose()


async def plan_of(
    session: "asyncpg.Connection[asyncpg.Record]", query: queries.Query
) -> list[dict[str, Any]]:
    """All nodes of the plan that every execution of this statement follows."""
    await session.execute(f"PREPARE looked_at AS {query.text}")
    given = ", ".join("NULL" for _ in query.parameters)
    execute = "EXECUTE looked_at" + (f"({given})" if given else "")
    row = await session.fetchrow(f"EXPLAIN (FORMAT JSON) {execute}")
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node and all below it."""
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("name", QUERIES)
async def test_rows_are_found_through_indexes(
    session: "asyncpg.Connection[asyncpg.Record]", name: str
) -> None:
    """The same ones at every size, each with a condition: nothing that grows is read whole."""
    plan = await plan_of(session, QUERIES[name])
    used = [n for n in plan if n.get("Index Name", "").startswith(GROWS)]
    assert {n["Index Name"] for n in used} == INDEXES.get(name, set())
    whole = {n["Index Name"] for n in used if "Index Cond" not in n}
    whole |= {n["Relation Name"] for n in plan if n["Node Type"] == "Seq Scan"} - SMALL
    assert whole == ({READ_WHOLE[name]} if name in READ_WHOLE else set())


async def test_the_plan_test_would_notice(session: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A condition that no index serves is seen in the plan."""
    (query,) = queries.parse(
        "-- name: slow\nSELECT * FROM amends.saga WHERE residue = :residue"
    ).values()
    used = [n for n in await plan_of(session, query) if "Scan" in n["Node Type"]]
    assert [n.get("Index Cond") for n in used] == [None]


def test_every_tested_statement_is_there() -> None:
    """A statement that was renamed takes its plan along."""
    assert set(INDEXES) <= set(QUERIES)


def test_statements_are_named_once() -> None:
    """A name means one statement, in whichever file."""
    names = [name for file in FILES.values() for name in file]
    assert len(names) == len(set(names))
