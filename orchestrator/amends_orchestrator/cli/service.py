"""One orchestrator process: engine, REST and page on one event loop, until SIGTERM or SIGINT.

This is where the parts meet that may not know each other. `amends serve` runs it over RabbitMQ,
`embedded` over the in-process broker.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from amends_orchestrator import garbage
from amends_orchestrator.api.app import create_app
from amends_orchestrator.api.guard import check_bind
from amends_orchestrator.api.review_links import Links
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.cli.adapters import CoreViews, DocumentChecker
from amends_orchestrator.cli.controls import RemoteControls
from amends_orchestrator.engine.orchestrator import Orchestrator
from amends_orchestrator.engine.ports import StoreUnavailable, Transport
from amends_orchestrator.engine.tracing import NoTracing, Tracing
from amends_orchestrator.notifier import Notifier, Webhook
from amends_orchestrator.settings import Settings
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.audit import Audit
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.store.drills import DrillRecord
from amends_orchestrator.store.keys import ApiKeys
from amends_orchestrator.store.reads import Reads
from amends_orchestrator.store.reviews import Reviews
from amends_orchestrator.store.schedules import Schedules
from amends_orchestrator.telemetry import export

log = logging.getLogger("amends")

DATABASE_AGAIN_S = 2.0
HTTP_STOP_S = 5


@dataclass(frozen=True, slots=True)
class Service:
    """The parts, ready to run."""

    orchestrator: Orchestrator
    store: PostgresStore
    definitions: Definitions
    app: FastAPI
    notifier: Notifier | None = None
    """There where a webhook is to be told of reviews."""


@asynccontextmanager
async def assembled(settings: Settings, transport: Transport) -> AsyncGenerator[Service]:
    """The parts over an opened database; closed afterwards. Raises DatabaseUnfit, BindRefused."""
    store = await _opened(settings)
    tracing: Tracing = NoTracing()
    if export.is_wanted():
        tracing = export.OtlpTracing()
    try:
        keys = ApiKeys(store.engine)
        await check_bind(settings.api_host, keys)
        yield _assemble(settings, transport, store, keys, tracing)
    finally:
        if isinstance(tracing, export.OtlpTracing):
            tracing.close()
        await store.close()


async def run(service: Service, settings: Settings) -> None:
    """Serve until a signal; an engine that cannot go on ends the process with its error."""
    server = _Server(_http(service.app, settings))
    stopping = asyncio.Event()
    garbage.tune()
    with _signals(stopping.set):
        engine = asyncio.create_task(service.orchestrator.run(), name="engine")
        http = asyncio.create_task(server.serve(), name="http")
        told = asyncio.create_task(stopping.wait(), name="signals")
        telling = asyncio.create_task(_tell(service.notifier), name="review webhook")
        await asyncio.wait({engine, http, told}, return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        told.cancel()
        telling.cancel()
        await service.app.state.stop_waiting()
        server.should_exit = True
        if not engine.done():
            await service.orchestrator.stop()
        await asyncio.gather(engine, http)


def _assemble(
    settings: Settings,
    transport: Transport,
    store: PostgresStore,
    keys: ApiKeys,
    tracing: Tracing,
) -> Service:
    reads, definitions = Reads(store.engine), Definitions(store.engine)
    expressions = CelExpressions()

    orchestrator = Orchestrator(
        store,
        transport,
        settings,
        expressions,
        tracing=tracing,
        principal_of=keys.tenant_of_user,
    )
    app = create_app(
        orchestrator=orchestrator,
        reads=reads,
        definitions=definitions,
        schedules=Schedules(store.engine),
        keys=keys,
        audit=Audit(store.engine),
        views=CoreViews(reads, orchestrator.catalog),
        review_rows=Reviews(store.engine),
        drills=DrillRecord(store.engine),
        checker=DocumentChecker(reads, expressions),
        secrets=[s.get_secret_value().encode() for s in settings.token_secrets],
        registered=orchestrator.catalog.forget_newest,
        trace_url=_trace_url(settings.jaeger_url),
        public_url=settings.public_url,
        demo=RemoteControls.from_environment(),
    )
    notifier = _notifier(settings, store)
    return Service(orchestrator, store, definitions, app, notifier)


def _notifier(settings: Settings, store: PostgresStore) -> Notifier | None:
    url, secret = settings.review_webhook_url, settings.review_webhook_secret
    if url is None or secret is None:
        return None
    webhook = Webhook(
        url=url,
        secret=secret.get_secret_value().encode(),
        remind_s=settings.review_remind_s,
        public_url=settings.public_url,
    )
    links = Links([s.get_secret_value().encode() for s in settings.token_secrets])
    return Notifier(Reviews(store.engine), webhook, links, httpx.AsyncClient())


async def _tell(notifier: Notifier | None) -> None:
    """Nothing else waits for it, and its fault is not the engine's."""
    while notifier is not None:
        try:
            await notifier.run()
        except Exception:
            log.exception("the review webhook cannot be told")
            await asyncio.sleep(DATABASE_AGAIN_S)


def _trace_url(base: str | None) -> str | None:
    """Template of a trace's page, where Jaeger's address is known."""
    return f"{base.rstrip('/')}/trace/{{trace_id}}" if base else None


async def _opened(settings: Settings) -> PostgresStore:
    """Open the database; while it is away, wait for it as every other part does."""
    while True:
        try:
            return await PostgresStore.open(
                settings.database_url.get_secret_value(),
                query_timeout_s=settings.query_timeout_s,
                partitions=settings.partitions,
                allow_unsafe=settings.allow_unsafe_database,
            )
        except StoreUnavailable as away:
            log.warning("%s; trying again in %g s", away, DATABASE_AGAIN_S)
            await asyncio.sleep(DATABASE_AGAIN_S)


def _http(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=HTTP_STOP_S,
        lifespan="on",
    )


class _Server(uvicorn.Server):
    """Signals are ours: engine and HTTP end together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave them alone."""
        yield


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
