"""Orchestrators as processes on a real database and broker, to be killed, paused and joined."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from amends_contracts.amqp import PublishResult
from amends_contracts.codec import encode_client
from amends_contracts.definition import Definition
from amends_contracts.documents import definition_digest
from amends_contracts.messages import Json, Start
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core.checker import check
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.store.pasts import recent
from engine.harness import SECRET, TRIP
from faults.participants import Services, services

SERVICES = ("flights", "hotels", "payments")
TIMEOUT_S = 240.0
SAGAS_MAX = 10_000
CHECKED = frozenset({"1", "2", "3", "4", "5", "6", "7", "8", "9", "12", "13", "14", "15"})
"""Promises of which some rule must have been asked."""


@dataclass
class Orchestrator:
    """One process."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait()


@dataclass
class Cluster:
    """Services in this process, orchestrators in others."""

    database_url: str
    broker_url: str
    topology: Topology
    services: Services
    folder: Path
    orchestrators: list[Orchestrator] = field(default_factory=list[Orchestrator])

    def join(self) -> Orchestrator:
        """Start one more orchestrator."""
        log = self.folder / f"orchestrator-{len(self.orchestrators)}.log"
        given = {
            "AMENDS_DATABASE_URL": self.database_url,
            "AMENDS_BROKER_URL": self.broker_url,
            "AMENDS_TOKEN_SECRETS": SECRET,
            "AMENDS_PREFIX": self.topology.prefix,
            "AMENDS_ALLOW_UNSAFE_DATABASE": "true",
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "amends_orchestrator.engine"],
                env={**os.environ, **given},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        made = Orchestrator(process, log)
        self.orchestrators.append(made)
        return made

    async def start(self, keys: Sequence[str], to: str = "Rome", definition: str = "trip") -> None:
        """Publish starts until the broker has them all."""
        left = [
            encode_client(Start(definition=definition, key=key, input={"to": to}), self.topology)
            for key in keys
        ]
        while left:
            results = await self.services.transport.publish(left, 10)
            left = [
                m for m, r in zip(left, results, strict=True) if r is not PublishResult.CONFIRMED
            ]

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Look into the database, which may be away for a while."""
        while True:
            try:
                connection = await asyncpg.connect(self.database_url, timeout=10)
                try:
                    return await connection.fetch(query, *arguments)
                finally:
                    await connection.close()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await asyncio.sleep(0.2)

    async def until(self, query: str, holds: Callable[[Any], bool], *arguments: Any) -> Any:
        """Wait until the first value of a query satisfies; an orchestrator's end is an error."""
        value = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    value = (await self.fetch(query, *arguments))[0][0]
                    if holds(value):
                        return value
                    for one in self.orchestrators:
                        code = one.process.poll()
                        assert code in (None, -signal.SIGKILL, 0), one.log.read_text()[-4000:]
                    await asyncio.sleep(0.1)
        except TimeoutError:
            logs = "\n".join(one.log.read_text()[-3000:] for one in self.orchestrators)
            raise AssertionError(f"{query}: still {value}\n{await self.state()}\n{logs}") from None

    async def state(self) -> list[Any]:
        """Sagas by status, for a failure's text."""
        return await self.fetch("SELECT status::text, count(*) FROM amends.saga GROUP BY 1")

    async def all_end(self, count: int) -> dict[str, int]:
        """Wait until so many sagas have ended; their number by status."""
        await self.until(
            "SELECT count(*) FROM amends.saga WHERE ended_at IS NOT NULL", lambda n: n >= count
        )
        rows = await self.state()
        return {row[0]: row[1] for row in rows}

    async def check_promises(self) -> None:
        """Every promise that the database and the services' ledger together can tell."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            found = await recent(connection, CelExpressions(), sagas=SAGAS_MAX)
        finally:
            await connection.close()
        effects = await self.services.effects()
        report = check(replace(found.history, effects=effects, quiet_at=len(effects)))
        assert report.violations == ()
        assert found.left_out == 0
        assert {name.split()[0] for name in report.checked} >= CHECKED

    async def outbox_empties(self) -> None:
        """Everything committed is confirmed in the end."""
        await self.until("SELECT count(*) FROM amends.outbox", lambda n: n == 0)

    async def owners(self) -> list[int]:
        """How many partitions each live orchestrator holds, fewest first."""
        rows = await self.fetch(
            "SELECT count(p.pp) AS n FROM amends.orchestrator o"
            " LEFT JOIN amends.partition p ON p.owner = o.id"
            " WHERE o.until > clock_timestamp() GROUP BY o.id ORDER BY n"
        )
        return [row["n"] for row in rows]

    async def when(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something asynchronous holds."""
        async with asyncio.timeout(TIMEOUT_S):
            while not await holds():  # noqa: ASYNC110  # what is waited for is in other processes
                await asyncio.sleep(0.1)


@asynccontextmanager
async def cluster(
    database_url: str, broker_url: str, prefix: str, folder: Path, orchestrators: int
) -> AsyncGenerator[Cluster]:
    """The services, the definition and so many orchestrators; all ended at the end."""
    topology = Topology(prefix)
    await register(database_url, TRIP)
    async with services(database_url, broker_url, topology, SERVICES) as made:
        c = Cluster(database_url, broker_url, topology, made, folder)
        try:
            for _ in range(orchestrators):
                c.join()
            yield c
        finally:
            for one in c.orchestrators:
                one.kill()


async def register(database_url: str, document: Json) -> None:
    """Register a definition as the API would."""
    store = await PostgresStore.open(database_url, allow_unsafe=True)
    try:
        digest = definition_digest(Definition.model_validate(document))
        await Definitions(store.engine).register(document, digest)
    finally:
        await store.close()
