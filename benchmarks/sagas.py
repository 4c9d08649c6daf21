"""Whole sagas of four steps through real RabbitMQ and Postgres, all on this machine.

One orchestrator process, one process with four SDK participants (a transaction each per command),
one database, one broker. Rates are sagas ended per second while more than enough wait; latencies
are of sagas started alone, ten a second, from their row to their end. The processor time of each
component per saga says more than a rate where the machine has other work too.

BENCH_SHORT=1 leaves out what comes after the latencies; BENCH_ROWS=0 has handlers that write no
row; BENCH_PROFILE=FILE profiles the orchestrator; BENCH_LOGS=1 shows what the processes say.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiormq
import asyncpg
from pamqp.common import FieldValue

from amends_contracts.amqp import PublishResult
from amends_contracts.codec import encode_client
from amends_contracts.definition import Definition
from amends_contracts.documents import definition_digest
from amends_contracts.messages import Start
from amends_contracts.topology import Topology
from amends_migrations import upgrade
from amends_orchestrator.local import servers
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.transport.amqp import AmqpTransport
from benchmarks._processes import cpu_ms
from benchmarks._services import TABLE

SERVICES = ("one", "two", "three", "four")
TOPOLOGY = Topology("bench")
GROWN = 100_000
WAITING = 10_000


def run(seconds: float) -> dict[str, Any]:
    """All numbers of this file."""
    postgres = servers.postgres(first=servers.Way.PRIVATE, environ={})
    rabbitmq = servers.rabbitmq(first=servers.Way.PRIVATE, environ={})
    try:
        upgrade(postgres.url)
        asyncio.run(_prepare(postgres.url))
        with _processes(postgres.url, rabbitmq.url) as (orchestrator, participants):
            components = {
                "orchestrator": orchestrator,
                "participants": participants,
                "postgres": postgres.pids["postgres"],
                "rabbitmq": rabbitmq.pids["rabbitmq"],
            }
            return asyncio.run(_measure(postgres.url, rabbitmq.url, components, seconds))
    finally:
        rabbitmq.stop()
        postgres.stop()


async def _measure(
    database_url: str, broker_url: str, components: Mapping[str, int], seconds: float
) -> dict[str, Any]:
    transport = AmqpTransport(broker_url, TOPOLOGY, partitions=16, name="bench")
    await transport.open()
    load = _Load(database_url, transport)
    try:
        await _declare(broker_url, "silent")
        await load.rate("warm", 100, 1)
        measured: dict[str, Any] = {}
        for name, rate, sign in (("success", 400, 1), ("compensating", 250, -1)):
            count = int(rate * seconds)
            before = cpu_ms(components)
            measured[f"{name}_sagas_per_s"] = round(await load.rate(name, count, sign))
            spent = {part: ms - before[part] for part, ms in cpu_ms(components).items()}
            spent["all"] = sum(spent.values())
            measured[f"{name}_cpu_ms_per_saga"] = {
                part: round(ms / count, 2) for part, ms in spent.items()
            }
        latencies = await load.latencies(seconds)
        measured |= {
            "p50_ms": round(latencies[len(latencies) // 2], 1),
            "p99_ms": round(latencies[int(len(latencies) * 0.99)], 1),
            "mean_ms": round(statistics.mean(latencies), 1),
        }
        if os.environ.get("BENCH_SHORT"):
            return measured
        await load.grow(GROWN)
        grown = await load.rate("grown", int(400 * seconds), 1)
        before_mb = _rss_mb(components["orchestrator"])
        await load.wait("waiting", WAITING)
        return {
            **measured,
            "success_sagas_per_s_after_100000": round(grown),
            "rss_mb": before_mb,
            "rss_mb_with_10000_waiting": _rss_mb(components["orchestrator"]),
        }
    finally:
        await transport.close()


class _Load:
    """Starts sagas and reads from the database when they ended."""

    def __init__(self, database_url: str, transport: AmqpTransport) -> None:
        self._database_url = database_url
        self._transport = transport

    async def rate(self, prefix: str, count: int, sign: int) -> float:
        """Sagas ended per second, of so many started at once; the first and last tenth left out."""
        await self._start("bench", [f"{prefix}-{i}" for i in range(count)], sign)
        ended = "SELECT count(*) FROM amends.saga WHERE key LIKE $1 AND ended_at IS NOT NULL"
        await self._until(ended, f"{prefix}-%", count)
        rows = await self._fetch(
            "SELECT extract(epoch FROM ended_at)::float8 AS at FROM amends.saga"
            " WHERE key LIKE $1 ORDER BY ended_at",
            f"{prefix}-%",
        )
        first, last = count // 10, count * 9 // 10
        return (last - first) / (rows[last]["at"] - rows[first]["at"])

    async def latencies(self, seconds: float) -> list[float]:
        """Milliseconds from start to end of sagas that have the machine nearly to themselves."""
        count = int(max(20, 10 * seconds))
        for i in range(count):
            await self._start("bench", [f"alone-{i}"], 1)
            await asyncio.sleep(0.1)
        ended = "SELECT count(*) FROM amends.saga WHERE key LIKE $1 AND ended_at IS NOT NULL"
        await self._until(ended, "alone-%", count)
        rows = await self._fetch(
            "SELECT extract(epoch FROM ended_at - started_at)::float8 * 1000 AS ms"
            " FROM amends.saga WHERE key LIKE $1",
            "alone-%",
        )
        return sorted(row["ms"] for row in rows)

    async def grow(self, count: int) -> None:
        """Fill the tables with copies of a saga that has ended."""
        await self._fetch(
            "INSERT INTO amends.saga (id, tenant, definition, version, key, partition, status, seq,"
            " state, residue, labels, started_at, ended_at)"
            " SELECT gen_random_uuid(), tenant, definition, version, 'filler-' || i, partition,"
            " status, seq, state, residue, labels, started_at, ended_at"
            " FROM (SELECT * FROM amends.saga WHERE key = 'success-0') s, generate_series(1, $1) i",
            count,
        )
        await self._fetch(
            "INSERT INTO amends.journal (saga_id, seq, at, kind, step, attempt, data)"
            " SELECT s.id, j.seq, j.at, j.kind, j.step, j.attempt, j.data FROM amends.saga s,"
            " (SELECT * FROM amends.journal WHERE saga_id ="
            " (SELECT id FROM amends.saga WHERE key = 'success-0')) j"
            " WHERE s.key LIKE 'filler-%'"
        )
        # What a table that has grown over weeks has behind it, and one filled at once before it.
        await self._fetch("VACUUM (ANALYZE) amends.saga, amends.journal")
        await self._fetch("CHECKPOINT")

    async def wait(self, prefix: str, count: int) -> None:
        """Sagas whose participant never answers."""
        await self._start("silent", [f"{prefix}-{i}" for i in range(count)], 1)
        await self._until(
            "SELECT count(*) FROM amends.saga WHERE key LIKE $1", f"{prefix}-%", count
        )

    async def _start(self, definition: str, keys: Sequence[str], sign: int) -> None:
        left = [
            encode_client(
                Start(definition=definition, key=key, input={"n": sign * (i + 1)}), TOPOLOGY
            )
            for i, key in enumerate(keys)
        ]
        while left:
            part, rest = left[:500], left[500:]
            results = await self._transport.publish(part, 30)
            doubtful = zip(part, results, strict=True)
            left = [m for m, r in doubtful if r is not PublishResult.CONFIRMED] + rest

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self._database_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def _until(self, query: str, pattern: str, count: int) -> None:
        deadline = time.monotonic() + 600
        while (await self._fetch(query, pattern))[0][0] < count:
            assert time.monotonic() < deadline, "the sagas do not end"
            await asyncio.sleep(0.3)


async def _prepare(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(TABLE)
    await connection.close()
    store = await PostgresStore.open(database_url)
    try:
        for name, services in (("bench", SERVICES), ("silent", ("silent",))):
            document = _document(name, services)
            digest = definition_digest(Definition.model_validate(document))
            await Definitions(store.engine).register(document, digest)
    finally:
        await store.close()


def _document(name: str, services: Sequence[str]) -> dict[str, Any]:
    steps = [
        {
            "id": service,
            "kind": "action",
            "command": f"{service}.do",
            "input": {"n": "${ input.n }"},
            "effect": "transactional",
            "timeout": "PT1H",
            "compensation": {},
        }
        for service in services
    ]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    return {"name": name, "version": 1, "input": schema, "steps": steps}


async def _declare(broker_url: str, service: str) -> None:
    """The queues of a service that nobody runs."""
    connection = await aiormq.connect(broker_url)
    channel = await connection.channel()
    for queue in TOPOLOGY.service_queues(service):
        arguments: dict[str, FieldValue] = dict(queue.arguments.items())
        await channel.queue_declare(queue.name, durable=True, arguments=arguments)
        for exchange, routing_key in queue.bindings:
            await channel.queue_bind(queue.name, exchange, routing_key)
    await connection.close()


@contextmanager
def _processes(database_url: str, broker_url: str) -> Generator[tuple[int, int]]:
    """Orchestrator and participants; their pids."""
    environment = {
        **os.environ,
        "AMENDS_DATABASE_URL": database_url,
        "AMENDS_BROKER_URL": broker_url,
        "AMENDS_PREFIX": TOPOLOGY.prefix,
        "AMENDS_TOKEN_SECRETS": "a secret of the benchmark",
    }
    out = None if os.environ.get("BENCH_LOGS") else subprocess.DEVNULL
    profile = os.environ.get("BENCH_PROFILE")
    engine = [sys.executable, *(["-m", "cProfile", "-o", profile] if profile else [])]
    apps = [f"benchmarks._services:{name}" for name in SERVICES]
    commands = [
        [*engine, "-m", "amends_orchestrator.engine"],
        [sys.executable, "-m", "amends_participants", *apps],
    ]
    running = [
        subprocess.Popen(
            command, env=environment, cwd=Path(__file__).parents[1], stdout=out, stderr=out
        )
        for command in commands
    ]
    try:
        yield running[0].pid, running[1].pid
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def _rss_mb(pid: int) -> float:
    """Resident memory, or 0 where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)
