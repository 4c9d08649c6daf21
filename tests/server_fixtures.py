"""Databases and broker names per test, on servers that all tests of a run share."""

import asyncio
import uuid
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from amends_orchestrator.local import servers

T = TypeVar("T")

SWEEP_AT = 10  # prefixes removed by one call, which takes a quarter of a second

# Deleting through AMQP would need the names of all queues; the node knows them.
SWEEP = """
Ours = fun({{resource, _, _, N}}) ->
    lists:any(fun(P) -> string:prefix(N, P) =/= nomatch end, [{prefixes}]) end,
[rabbit_amqqueue:delete(Q, false, false, <<"tests">>)
    || Q <- rabbit_amqqueue:list(), Ours(amqqueue:get_name(Q))],
[rabbit_exchange:delete(element(2, X), false, <<"tests">>)
    || X <- rabbit_exchange:list(), Ours(element(2, X))],
ok.
"""


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on an event loop of its own, beside whatever loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Databases:
    """Creates databases under names that no other run uses, and drops them."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._prefix = f"t{uuid.uuid4().hex[:8]}"
        self._made = 0
        self._template: str | None = None
        self._alive: set[str] = set()

    def create(self, *, template: str | None = None) -> str:
        """A new database, empty or a copy of `template`, which nobody may be connected to."""
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        self._execute(f'create database "{name}" template "{template or "template0"}"')
        self._alive.add(name)
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database made here, whoever is connected."""
        name = urlsplit(url).path.removeprefix("/")
        self._execute(f'drop database if exists "{name}" with (force)')
        self._alive.discard(name)

    def drop_all(self) -> None:
        """Drop what is left, the template too."""
        for name in sorted(self._alive):
            self.drop(self._url(name))

    def migrated_template(self) -> str:
        """The name of a database with the orchestrator's tables, made once per run."""
        if self._template is None:
            # At the first use: most tests need no tables.
            from amends_migrations import upgrade

            url = self.create()
            upgrade(url)
            self._template = urlsplit(url).path.removeprefix("/")
        return self._template

    def _url(self, name: str) -> str:
        return urlunsplit(urlsplit(self._admin_url)._replace(path=f"/{name}"))

    def _execute(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._admin_url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        in_thread(run())


class Sweeper:
    """Deletes the queues and exchanges of finished tests, some at a time, beside the next ones.

    A quorum queue costs the node memory and start-up work as long as it is there. A broker given by
    URL cannot be swept this way and keeps them.
    """

    def __init__(self, broker: servers.Broker) -> None:
        self._broker = broker
        self._waiting: list[str] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweeper")
        self._sweeps: list[Future[None]] = []

    def later(self, prefix: str) -> None:
        """Have everything named `<prefix>.…` removed at some time."""
        self._waiting.append(prefix)
        if len(self._waiting) >= SWEEP_AT:
            self._sweeps.append(self._thread.submit(self.now, self._waiting))
            self._waiting = []

    def now(self, prefixes: list[str]) -> None:
        """Remove everything named `<prefix>.…` for any of the prefixes."""
        if isinstance(self._broker, servers.Given):
            return
        listed = ", ".join(f'<<"{prefix}.">>' for prefix in prefixes)
        self._broker.ctl("eval", SWEEP.format(prefixes=listed))

    def finish(self) -> None:
        """Wait for sweeps under way; their failures surface here. What waits goes with the node."""
        self._thread.shutdown()
        for sweep in self._sweeps:
            sweep.result()
