"""The web application of one orchestrator process: REST, and whatever else is mounted beside it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse

from amends_orchestrator.api import definitions as definition_routes
from amends_orchestrator.api import health, operate, problems, reviews, sagas, signals
from amends_orchestrator.api import schedules as schedule_routes
from amends_orchestrator.api.drill_ports import Drills
from amends_orchestrator.api.guard import Guard
from amends_orchestrator.api.headers import SecurityHeaders
from amends_orchestrator.api.live import Live
from amends_orchestrator.api.openapi import document_of
from amends_orchestrator.api.ports import (
    Audit,
    Checker,
    Definitions,
    Keys,
    Orchestrator,
    Reads,
    Reviews,
    Schedules,
    Views,
)
from amends_orchestrator.api.review_links import Links
from amends_orchestrator.api.services import Services
from amends_orchestrator.console.demo import DemoControls
from amends_orchestrator.console.pages import Console, routes_home
from amends_orchestrator.console.session import PATH

ROUTERS: Final = (
    definition_routes.routes,
    sagas.routes,
    operate.routes,
    signals.routes,
    reviews.routes,
    schedule_routes.routes,
    health.routes,
)


def create_app(
    *,
    orchestrator: Orchestrator,
    reads: Reads,
    definitions: Definitions,
    schedules: Schedules,
    keys: Keys,
    audit: Audit,
    views: Views,
    review_rows: Reviews,
    drills: Drills,
    checker: Checker,
    secrets: Sequence[bytes] = (),
    registered: Callable[[str], None] = lambda _: None,
    trace_url: str | None = None,
    public_url: str | None = None,
    demo: DemoControls | None = None,
) -> FastAPI:
    """The application. Binding is the caller's: `guard.check_bind` says where it may.

    Before the server is told to stop, call `app.state.stop_waiting()`: it lets long polls and live
    pages go, for which the server would otherwise wait.
    """
    guard = Guard(keys)
    services = Services(
        orchestrator=orchestrator,
        reads=reads,
        definitions=definitions,
        schedules=schedules,
        audit=audit,
        views=views,
        checker=checker,
        guard=guard,
        reviews=review_rows,
        drills=drills,
        links=Links(secrets),
        heads=Live(reads.heads),
        secrets=tuple(secrets),
        registered=registered,
        trace_url=trace_url,
        public_url=public_url,
    )

    console = Console(services, demo)

    async def stop_waiting() -> None:
        for waited_for in (services.heads, console.lists, console.reviews.inboxes):
            await waited_for.close()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await stop_waiting()

    app = _application(lifespan)
    app.state.services, app.state.guard = services, guard
    app.state.routers, app.state.stop_waiting = ROUTERS, stop_waiting
    app.add_middleware(SecurityHeaders)
    problems.install(app)
    for routes in ROUTERS:
        app.include_router(routes)

    app.add_route("/openapi.json", _openapi(app), include_in_schema=False)
    app.router.routes.extend(routes_home())
    app.mount(PATH, console.application())
    return app


def _openapi(app: FastAPI) -> Callable[[Request], Awaitable[JSONResponse]]:
    """The route of the document."""

    async def openapi(_: Request) -> JSONResponse:
        return JSONResponse(document_of(app, ROUTERS))

    return openapi


def _application(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """Without the framework's own pages."""
    return FastAPI(
        title="Amends",
        version=version("amends-orchestrator"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
