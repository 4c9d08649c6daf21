"""The console: a small application of its own, mounted beside REST at `/console`.

Pages are rendered here and complete without scripts; `console.js` only exchanges their live part.
GET never changes anything; forms are taken from our own pages alone.
"""

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from importlib import resources
from importlib.metadata import version
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from amends_contracts.messages import Json
from amends_contracts.names import SagaId
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.api.guard import require
from amends_orchestrator.api.live import Live
from amends_orchestrator.api.models import UUID_PATTERN
from amends_orchestrator.api.operate import SCOPES, change
from amends_orchestrator.api.ports import Caller, Scope
from amends_orchestrator.api.problems import ApiProblem
from amends_orchestrator.api.services import Head, Services
from amends_orchestrator.console.demo import DemoControls
from amends_orchestrator.console.drills import DrillPages
from amends_orchestrator.console.forms import change_of, read_form
from amends_orchestrator.console.lists import COUNT_MAX, Filters, Found, filters_of, find
from amends_orchestrator.console.looks import saga_look
from amends_orchestrator.console.present import list_row, saga_page
from amends_orchestrator.console.reviews import ReviewPages
from amends_orchestrator.console.session import (
    COOKIE,
    HOME,
    NOTICE,
    PATH,
    SESSION_S,
    LoginNeeded,
    Sessions,
    check_form,
    login_url,
    put_notice,
    safe_next,
    set_cookie,
    take_notice,
)
from amends_orchestrator.console.stream import each, pages, stream
from amends_orchestrator.core.state import TERMINAL
from amends_orchestrator.engine.ports import StoreUnavailable

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
ASSETS: Final[Mapping[str, str]] = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
DONE: Final[Mapping[str, str]] = {
    "cancel": "Cancelled: what was done is taken back.",
    "suspend": "Suspended.",
    "resume": "Resumed.",
    "retry": "Tried again.",
    "skip": "Skipped.",
    "resolve": "Resolved.",
}
ASSET_VERSION: Final = version("amends-orchestrator")
_is_uuid: Final = re.compile(UUID_PATTERN).fullmatch


class Console:
    """The pages over the services of REST."""

    def __init__(self, services: Services, demo: DemoControls | None) -> None:
        self._services = services
        self._demo = demo
        self._sessions = Sessions(services.guard, services.secrets)
        self.lists: Live[Filters, Found] = Live(
            partial(each, partial(find, services.reads)), pace_min_s=0.3, pace_max_s=1.5
        )
        self.reviews = ReviewPages(
            services, self._sessions, self._page, self._render, self._allowed
        )
        self.drills = DrillPages(services, self._sessions, self._page)
        self._templates = Environment(
            loader=PackageLoader("amends_orchestrator.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def application(self) -> Starlette:
        """The application to mount at `/console`."""
        saga = "/sagas/{saga_id}"
        return Starlette(
            routes=[
                Route("/", self.list_page),
                Route("/live", self.list_live),
                Route(saga, self.saga_page),
                Route(saga + "/live", self.saga_live),
                Route(saga + "/{action}", self.act, methods=["POST"]),
                *self.reviews.routes(),
                *self.drills.routes(),
                Route("/demo/{action}", self.perform, methods=["POST"]),
                Route("/login", self.login_page),
                Route("/login", self.login, methods=["POST"]),
                Route("/logout", self.logout, methods=["POST"]),
                Route("/static/{name}", self.static),
            ],
            exception_handlers={
                LoginNeeded: self._on_login_needed,
                HTTPException: self._on_problem,
                StoreUnavailable: self._on_unavailable,
                TimeoutError: self._on_unavailable,
                Exception: self._on_anything,
            },
        )

    # --- the list --------------------------------------------------------------------------

    async def list_page(self, request: Request) -> Response:
        """Sagas, newest first, with a count per status."""
        caller = await self._sessions.caller(request)
        wanted = filters_of(caller.tenant, request.query_params)
        try:
            found = await find(self._services.reads, wanted)
        except ValueError:
            return RedirectResponse(wanted.url(), 303)
        context = self._list(wanted, found)
        demo = self._demo.actions() if self._demo and caller.allows(Scope.OPERATOR) else ()
        return self._page(
            request, "list.html", caller, demo=demo, live_url=wanted.url(HOME + "live"), **context
        )

    async def list_live(self, request: Request) -> Response:
        """The list as it changes."""
        caller = await self._sessions.caller(request)
        wanted = filters_of(caller.tenant, request.query_params)

        async def render(found: Found) -> tuple[str, bool]:
            return self._render("list_live.html", **self._list(wanted, found)), True

        return stream(
            pages(self.lists, wanted, None, render, partial(self._allowed, request, caller))
        )

    def _list(self, wanted: Filters, found: Found) -> dict[str, Any]:
        return {
            "filters": wanted,
            "filter_url": wanted.url,
            "rows": [list_row(row) for row in found.rows],
            "next": found.next,
            "counts": [(name, saga_look(name), n) for name, n in found.counts],
            "total": sum(n for _, n in found.counts),
            "capped": any(n >= COUNT_MAX for _, n in found.counts),
            "count_max": COUNT_MAX,
        }

    # --- one saga --------------------------------------------------------------------------

    async def saga_page(self, request: Request) -> Response:
        """One saga as a tree."""
        caller = await self._sessions.caller(request)
        saga_id = _saga_id(request)
        html, more = await self._saga(caller, saga_id)
        live_url = f"{PATH}/sagas/{saga_id}/live" if more else None
        return self._page(request, "saga.html", caller, live_url=live_url, **html)

    async def saga_live(self, request: Request) -> Response:
        """One saga as it changes, until it ends."""
        caller = await self._sessions.caller(request)
        saga_id = _saga_id(request)
        await self._services.saga(caller.tenant, saga_id)

        async def render(_: Head) -> tuple[str, bool]:
            context, more = await self._saga(caller, saga_id)
            return self._render("saga_live.html", viewer=caller, **context), more

        return stream(
            pages(
                self._services.heads,
                saga_id,
                None,
                render,
                partial(self._allowed, request, caller),
            )
        )

    async def _saga(self, caller: Caller, saga_id: SagaId) -> tuple[dict[str, Any], bool]:
        services = self._services
        row = await services.saga(caller.tenant, saga_id)
        over = row.status in TERMINAL
        view = await services.view(row)
        plan: Json = None if over else await services.undo_plan(row)
        return {"saga": saga_page(view, plan or (), caller, services.trace_url)}, not over

    async def act(self, request: Request) -> Response:
        """An operator's button."""
        check_form(request)
        caller = await self._sessions.caller(request)
        saga_id, action = _saga_id(request), request.path_params["action"]
        fields = await read_form(request)
        response = RedirectResponse(f"{PATH}/sagas/{saga_id}", 303)
        try:
            message = change_of(action, fields, caller.name)
            if message is None:
                raise HTTPException(404)
            require(caller, SCOPES[action])
            await change(self._services, caller, saga_id, message)
        except ApiProblem as error:
            if error.status_code == 404:
                raise
            put_notice(request, response, "refused", f"Refused. {error.problem.detail}")
        else:
            put_notice(request, response, "done", DONE[action])
        return response

    async def perform(self, request: Request) -> Response:
        """A demo's button."""
        check_form(request)
        caller = await self._sessions.caller(request)
        require(caller, Scope.OPERATOR)
        response = RedirectResponse(HOME, 303)
        if self._demo is None:
            raise HTTPException(404)
        try:
            said = await self._demo.perform(request.path_params["action"])
        except KeyError:
            raise HTTPException(404) from None
        put_notice(request, response, "done", said)
        return response

    # --- who looks -------------------------------------------------------------------------

    async def login_page(self, request: Request) -> Response:
        """Asks for a key."""
        wanted = safe_next(request.query_params.get("next", HOME))
        return self._page(request, "login.html", None, next=wanted, wrong=False)

    async def login(self, request: Request) -> Response:
        """Takes a key and gives a cookie."""
        check_form(request)
        fields = await read_form(request)
        wanted = safe_next(fields.get("next", HOME))
        session = await self._sessions.login(fields.get("key", ""))
        if session is None:
            return self._page(request, "login.html", None, status=401, next=wanted, wrong=True)
        response = RedirectResponse(wanted, 303)
        set_cookie(request, response, COOKIE, session[1], SESSION_S)
        return response

    async def logout(self, request: Request) -> Response:
        """Forgets the cookie."""
        check_form(request)
        response = RedirectResponse(f"{PATH}/login", 303)
        response.delete_cookie(COOKIE, path=PATH)
        return response

    async def _allowed(self, request: Request, caller: Caller) -> bool:
        """Whether somebody who has been watching may still."""
        try:
            return await self._sessions.caller(request) == caller
        except (LoginNeeded, ApiProblem):
            return False

    # --- answers ---------------------------------------------------------------------------

    async def static(self, request: Request) -> Response:
        """A file of the console, by name; there are three."""
        media_type = ASSETS.get(request.path_params["name"])
        if media_type is None:
            raise HTTPException(404)
        folder = resources.files("amends_orchestrator.console") / "static"
        body = (folder / request.path_params["name"]).read_bytes()
        headers = {"Cache-Control": "max-age=3600" if request.url.query else "no-cache"}
        return Response(body, media_type=media_type, headers=headers)

    def _render(self, template: str, **context: Any) -> str:
        return self._templates.get_template(template).render(**context)

    def _page(
        self,
        request: Request,
        template: str,
        caller: Caller | None,
        *,
        status: int = 200,
        **context: Any,
    ) -> Response:
        context.setdefault("live_url", None)
        notice = take_notice(request)
        html = self._render(
            template,
            viewer=caller,
            asset_version=ASSET_VERSION,
            session=caller is not None and COOKIE in request.cookies,
            notice=notice,
            **context,
        )
        response = HTMLResponse(html, status_code=status)
        if notice is not None:
            response.delete_cookie(NOTICE, path=PATH)
        return response

    async def _on_login_needed(self, request: Request, _: Exception) -> Response:
        if request.url.path.endswith("/live"):
            return PlainTextResponse("Log in.", status_code=401)
        return RedirectResponse(login_url(request), 303)

    async def _on_problem(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = Problem(
            type=ProblemType.NOT_FOUND, title="Not found", detail="There is nothing here."
        )
        if isinstance(error, ApiProblem):
            problem = error.problem
        elif error.status_code != 404:
            problem = Problem(
                type=ProblemType.BAD_REQUEST, title="Not possible", detail=error.detail
            )
        return self._page(request, "problem.html", None, status=error.status_code, problem=problem)

    async def _on_anything(self, request: Request, _: Exception) -> Response:
        problem = Problem(
            type=ProblemType.INTERNAL,
            title="Something is wrong on our side",
            detail="The log says more. Load the page again in a moment.",
        )
        return self._page(request, "problem.html", None, status=500, problem=problem)

    async def _on_unavailable(self, request: Request, _: Exception) -> Response:
        problem = Problem(
            type=ProblemType.NOT_READY,
            title="The database is away",
            detail="Sagas go on when it is back. Load the page again in a moment.",
        )
        return self._page(request, "problem.html", None, status=503, problem=problem)


def _saga_id(request: Request) -> SagaId:
    text: str = request.path_params["saga_id"]
    if not _is_uuid(text):
        raise HTTPException(404)
    return SagaId(text)


def routes_home() -> Sequence[Route]:
    """`/` and `/console` lead to the list."""

    async def home(_: Request) -> Response:
        return RedirectResponse(HOME, 307)

    return [Route("/", home), Route(PATH, home)]
