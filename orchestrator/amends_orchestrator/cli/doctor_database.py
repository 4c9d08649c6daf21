"""What `amends doctor` reads from the database: one short read-only statement per check."""

import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeAlias, cast

import asyncpg

from amends_contracts.names import service_of
from amends_migrations import head
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.cli import doctor_commands, saga_tree, schema
from amends_orchestrator.cli.finding import Finding, bad, note, ok
from amends_orchestrator.core import checker
from amends_orchestrator.store import Definitions
from amends_orchestrator.store.pasts import recent
from amends_orchestrator.store.reads import CircuitRow, Reads

CLOCK_S_MAX = 5.0
OUTBOX_S_NOTE, OUTBOX_S_BAD = 10.0, 60.0
OVERDUE_S = 15.0
UNHEARD_S = 60.0
TRANSACTION_S_MAX = 60.0
SHOWN_MAX = 5

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SERVER = """
SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit
"""
STUCK = """
SELECT id FROM amends.saga WHERE status = 'stuck' AND wake_at IS NOT NULL ORDER BY id LIMIT $1
"""
TRANSACTIONS = """
SELECT coalesce(application_name, '') AS application,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS s
FROM pg_stat_activity
WHERE state LIKE 'idle in transaction%'
  AND xact_start < clock_timestamp() - make_interval(secs => $1)
ORDER BY xact_start LIMIT 1
"""


async def check(url: str) -> AsyncGenerator[Finding]:
    """All checks in their order; the later ones need the earlier."""
    connection = await schema.connect(url)
    try:
        yield await _server(connection)
        yield await _clock(connection)
        migrated = await _migrations(connection)
        yield migrated
        if migrated.do:
            return
        async with schema.opened(url) as engine:
            reads = Reads(engine)
            for look in (_leases, _outbox, _overdue, _permits):
                yield await look(reads)
            yield await _stuck(connection, reads)
            yield await _promises(connection)
            yield await _transactions(connection)
            for finding in await _participants(reads):
                yield finding
            for finding in await doctor_commands.check(reads, Definitions(engine)):
                yield finding
    finally:
        await connection.close()


async def services_in_use(url: str) -> Mapping[str, bool]:
    """Every service that a registered definition names, and whether sagas are running at all."""
    connection = await schema.connect(url)
    try:
        documents = await connection.fetch("SELECT document FROM amends.definition")
        running = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM amends.saga WHERE wake_at IS NOT NULL)"
        )
    finally:
        await connection.close()
    names: set[str] = set()
    for row in documents:
        names |= _services(json.loads(row["document"]))
    return dict.fromkeys(sorted(names), bool(running))


def _services(part: Any) -> set[str]:
    """Services of all commands anywhere in a document."""
    if isinstance(part, list):
        inner = cast(list[Any], part)
        return set[str]().union(*(_services(item) for item in inner))
    if not isinstance(part, dict):
        return set()
    members = cast(dict[str, Any], part)
    found = set[str]().union(*(_services(value) for value in members.values()))
    command = members.get("command")
    return found | ({service_of(command)} if isinstance(command, str) else set())


async def _server(connection: Connection) -> Finding:
    row = await _row(connection, SERVER)
    off = [k for k in ("fsync", "full_page_writes", "synchronous_commit") if row[k] == "off"]
    if off:
        return bad(
            "database",
            f"Postgres {row['version']} may lose what it said was committed: {', '.join(off)} off",
            "Set them on in postgresql.conf.",
        )
    return ok("database", f"Postgres {row['version']}")


async def _clock(connection: Connection) -> Finding:
    before = time.time()
    theirs = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    apart = abs(theirs - (before + time.time()) / 2)
    if apart > CLOCK_S_MAX:
        return note(
            "clock",
            f"this machine and the database are {saga_tree.span(apart)} apart",
            "Decisions go by the database's clock alone; mend it for logs and traces.",
        )
    return ok("clock", f"{saga_tree.span(apart)} from the database's")


async def _migrations(connection: Connection) -> Finding:
    if await connection.fetchval("SELECT to_regclass('amends.alembic_version')") is None:
        return bad("migrations", "the database has no tables of ours", "Run `amends migrate`.")
    revision = await connection.fetchval("SELECT max(version_num) FROM amends.alembic_version")
    if revision < head():
        said = f"the database is at {revision}, this release needs {head()}"
        return bad("migrations", said, "Run `amends migrate`.")
    return ok("migrations", f"at {revision}")


async def _leases(reads: Reads) -> Finding:
    live = sum(row.live for row in await reads.orchestrators())
    partitions = await reads.partitions()
    owned = sum(row.live for row in partitions)
    if not live:
        return bad("orchestrators", "none is running", "Start one: `amends serve` or `amends up`.")
    said = f"{live} live, {owned} of {len(partitions)} partitions owned"
    if owned < len(partitions):
        return note("orchestrators", said, "Free ones are taken within seconds; look again.")
    return ok("orchestrators", said)


async def _outbox(reads: Reads) -> Finding:
    rows = await reads.outbox()
    oldest_s = max((row.oldest_s for row in rows), default=0.0)
    said = f"{sum(row.messages for row in rows)} messages to publish"
    if oldest_s > OUTBOX_S_BAD:
        return bad(
            "outbox",
            f"{said}, the oldest for {saga_tree.span(oldest_s)}",
            "The broker does not take them: see the broker's findings and the orchestrator's log.",
        )
    if oldest_s > OUTBOX_S_NOTE:
        return note("outbox", said, "The broker is slow, or was away; look again.")
    return ok("outbox", said)


async def _overdue(reads: Reads) -> Finding:
    behind = [row.behind_s for row in await reads.partitions() if row.behind_s is not None]
    late = [seconds for seconds in behind if seconds > OVERDUE_S]
    if late:
        return bad(
            "wake-ups",
            f"{len(late)} partitions are behind, by up to {saga_tree.span(max(late))}",
            "Nobody owns them, or the orchestrators cannot keep up: start one more.",
        )
    return ok("wake-ups", "none overdue")


async def _permits(reads: Reads) -> Finding:
    pools = await reads.pools()
    if not pools:
        return ok("permits", "nobody waits for one")
    said = ", ".join(f"{p.waiting} wait at {p.pool} ({p.at_work} at work)" for p in pools)
    unheard_s = max((pool.unheard_s or 0.0 for pool in pools), default=0.0)
    if unheard_s > UNHEARD_S:
        return bad(
            "permits",
            f"{said}; a grant has not reached its saga for {saga_tree.span(unheard_s)}",
            "The orchestrators cannot keep up, or cannot run its definition: see their logs.",
        )
    idle = [pool.pool for pool in pools if not pool.at_work]
    if idle:
        do = "A rate holds them, or their sagas are suspended: `amends show ID`. Look again."
        return note("permits", said, do)
    return ok("permits", said)


async def _stuck(connection: Connection, reads: Reads) -> Finding:
    counts = {str(status): n for status, n in (await reads.totals()).items() if n}
    shown = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "none yet"
    if not counts.get("stuck"):
        return ok("sagas", shown)
    ids = [str(row["id"]) for row in await connection.fetch(STUCK, SHOWN_MAX)]
    return bad(
        "sagas",
        f"{shown}: {', '.join(ids)}",
        "`amends show ID` says why; then `amends retry`, `resolve` or `skip` its step.",
    )


async def _promises(connection: Connection) -> Finding:
    """The promises of the specification, over the newest sagas and what their rows can tell."""
    found = await recent(connection, CelExpressions())
    report = checker.check(found.history)
    asked = len({name.partition(" ")[0] for name in report.checked})
    sagas = len(found.history.sagas)
    said = f"{asked} of {len(checker.PROMISES)} checked over the newest {sagas} sagas"
    if found.left_out:
        said += f", {found.left_out} not readable by this release"
    if report.violations:
        shown = "; ".join(str(violation) for violation in report.violations[:SHOWN_MAX])
        do = "Nothing of ours does this: who else writes to the database? Please report it."
        return bad("promises", f"{len(report.violations)} broken: {shown}", do)
    return ok("promises", f"{said}; the others need what participants and the broker know")


async def _transactions(connection: Connection) -> Finding:
    row = await connection.fetchrow(TRANSACTIONS, TRANSACTION_S_MAX)
    if row is not None:
        who = row["application"] or "a session"
        return note(
            "transactions",
            f"{who} holds one open and idle for {saga_tree.span(row['s'])}",
            "It keeps old row versions alive and slows every saga: end it.",
        )
    return ok("transactions", "none left open")


async def _participants(reads: Reads) -> list[Finding]:
    """One finding for each service; instances that left are not held against it."""
    by_service: dict[str, list[bool]] = {}
    for row in await reads.participants():
        by_service.setdefault(row.service, []).append(row.live)
    found = [_held_off(circuit) for circuit in await reads.circuits()]
    for service, live in sorted(by_service.items()):
        check = f"participant {service}"
        if any(live):
            found.append(ok(check, f"{sum(live)} running"))
        else:
            found.append(note(check, "not heard of lately", "It says hello every 30 s: start it."))
    return found


def _held_off(circuit: CircuitRow) -> Finding:
    return bad(
        f"circuit {circuit.service}",
        f"{circuit.bad} of its last {circuit.looked_at} outcomes were no answer: "
        + ("new attempts wait" if circuit.open else "one attempt is out to see"),
        "See its log; it is tried again by itself, at once when it says hello.",
    )


async def _row(connection: Connection, query: str, *arguments: Any) -> asyncpg.Record:
    row = await connection.fetchrow(query, *arguments)
    assert row is not None
    return row
