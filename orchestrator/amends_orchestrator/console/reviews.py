"""The pages of reviews: an inbox, one review with its buttons, and the same behind a link.

GET shows; only a form that was sent from the page itself decides. Who decides is who is logged in,
or whom the link names.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from amends_contracts.messages import Decide, Json
from amends_orchestrator.api.guard import require
from amends_orchestrator.api.live import Live
from amends_orchestrator.api.ports import Caller, ReviewRow, Reviews, Scope
from amends_orchestrator.api.problems import ApiProblem
from amends_orchestrator.api.review_models import DecisionIn
from amends_orchestrator.api.reviews import decide, find, held, whole
from amends_orchestrator.api.services import Services
from amends_orchestrator.console.forms import read_form
from amends_orchestrator.console.looks import review_look
from amends_orchestrator.console.markdown import to_html
from amends_orchestrator.console.present import pretty
from amends_orchestrator.console.render import Render
from amends_orchestrator.console.review_forms import edited, fields_of
from amends_orchestrator.console.session import (
    PATH,
    Sessions,
    check_form,
    put_notice,
)
from amends_orchestrator.console.stream import each, pages, stream
from amends_orchestrator.core.reviews import ReviewStage, may_decide

PAGE: Final = 50
INBOX: Final = f"{PATH}/reviews"
DECISIONS: Final = frozenset(get_args(DecisionIn.model_fields["decision"].annotation))
DONE: Final[Mapping[str, str]] = {
    "approve": "Approved.",
    "reject": "Rejected: what was done is taken back.",
    "edit": "Approved, as you changed it.",
}
TITLE_MEMBER: Final = "markdown"
"""A member of what is shown that is text for people, not data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """Which reviews are shown; the key of a live inbox."""

    tenant: str
    held: tuple[str, ...] | None
    status: ReviewStage = ReviewStage.OPEN
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class FoundReviews:
    """A page of the inbox; equal to another one exactly if it looks the same."""

    rows: tuple[ReviewRow, ...]
    next: str | None


async def find_one(reviews: Reviews, wanted: Inbox) -> FoundReviews:
    """An inbox as it now is. Raises ValueError for a cursor no page has given."""
    page = await reviews.list(
        wanted.tenant,
        status=wanted.status,
        held=None if wanted.held is None else list(wanted.held),
        cursor=wanted.cursor,
        limit=PAGE,
    )
    return FoundReviews(tuple(page.items), page.next)


class ReviewPages:
    """The pages, as a part of the console."""

    def __init__(
        self,
        services: Services,
        sessions: Sessions,
        page: Render,
        render: Callable[..., str],
        allowed: Callable[[Request, Caller], Awaitable[bool]],
    ) -> None:
        self._services = services
        self._sessions = sessions
        self._page = page
        self._render = render
        self._allowed = allowed
        self.inboxes: Live[Inbox, FoundReviews] = Live(
            partial(each, partial(find_one, services.reviews)), pace_min_s=0.3, pace_max_s=1.5
        )

    def routes(self) -> list[Route]:
        """Where they are, below the console's own path."""
        return [
            Route("/reviews", self.inbox),
            Route("/reviews/live", self.inbox_live),
            Route("/reviews/{review_id}", self.show),
            Route("/reviews/{review_id}/{decision}", self.decide, methods=["POST"]),
            Route("/review/{token}", self.linked),
            Route("/review/{token}/{decision}", self.linked_decide, methods=["POST"]),
        ]

    # --- the inbox -----------------------------------------------------------------------------

    async def inbox(self, request: Request) -> Response:
        """What waits for the visitor; or everything, or what is over."""
        caller = await self._sessions.caller(request)
        wanted = _inbox_of(caller, request.query_params)
        try:
            found = await find_one(self._services.reviews, wanted)
        except ValueError:
            return RedirectResponse(INBOX, 303)
        query = f"?{request.url.query}" if request.url.query else ""
        context = _inbox(wanted, found, everything="all" in request.query_params)
        return self._page(
            request, "reviews.html", caller, live_url=f"{INBOX}/live{query}", **context
        )

    async def inbox_live(self, request: Request) -> Response:
        """The inbox as it changes."""
        caller = await self._sessions.caller(request)
        wanted = _inbox_of(caller, request.query_params)
        everything = "all" in request.query_params

        async def render(found: FoundReviews) -> tuple[str, bool]:
            context = _inbox(wanted, found, everything=everything)
            return self._render("reviews_live.html", **context), True

        allowed = partial(self._allowed, request, caller)
        return stream(pages(self.inboxes, wanted, None, render, allowed))

    # --- one review ----------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """One review, with buttons where the visitor may decide."""
        caller = await self._sessions.caller(request)
        row = await find(self._services, caller.tenant, request.path_params["review_id"])
        base = f"{INBOX}/{row.review_id}"
        return await self._review(request, caller, caller, row, base)

    async def decide(self, request: Request) -> Response:
        """A button."""
        check_form(request)
        caller = await self._sessions.caller(request)
        review_id: str = request.path_params["review_id"]
        await find(self._services, caller.tenant, review_id)
        return await self._decided(request, caller, review_id, f"{INBOX}/{review_id}", None)

    async def linked(self, request: Request) -> Response:
        """The review of a link, for whom the link names."""
        token: str = request.path_params["token"]
        link = self._services.links.read(token)
        caller = Caller(link.reviewer, link.tenant, Scope.REVIEWER)
        row = await find(self._services, link.tenant, link.review_id)
        stale = row.digest != link.digest
        base = f"{PATH}/review/{token}"
        return await self._review(request, None, caller, row, base, stale=stale)

    async def linked_decide(self, request: Request) -> Response:
        """A button behind a link: it decides on what the link was made for, and nothing else."""
        check_form(request)
        token: str = request.path_params["token"]
        link = self._services.links.read(token)
        caller = Caller(link.reviewer, link.tenant, Scope.REVIEWER)
        base = f"{PATH}/review/{token}"
        return await self._decided(request, caller, link.review_id, base, link.digest)

    async def _review(
        self,
        request: Request,
        viewer: Caller | None,
        caller: Caller,
        row: ReviewRow,
        base: str,
        *,
        stale: bool = False,
    ) -> Response:
        review = await whole(self._services, row)
        may = (
            row.status is ReviewStage.OPEN
            and caller.allows(Scope.REVIEWER)
            and may_decide(row.assignees, caller.name, caller.roles)
            and caller.name not in row.approved_by
            and not stale
        )
        text, data = _apart(review["show"])
        return self._page(
            request,
            "review.html",
            viewer,
            review=row,
            look=review_look(row.status),
            text=None if text is None else to_html(text),
            data=pretty(data),
            decisions=review["decisions"],
            requested_at=row.requested_at,
            base=base,
            reviewer=caller.name,
            by_link=viewer is None,
            may=may,
            stale=stale,
            fields=fields_of(review["form"], review["show"]) if may else (),
        )

    async def _decided(
        self, request: Request, caller: Caller, review_id: str, base: str, digest: str | None
    ) -> Response:
        decision: str = request.path_params["decision"]
        if decision not in DECISIONS:
            raise HTTPException(404)
        fields = await read_form(request)
        response = RedirectResponse(base, 303)
        try:
            require(caller, Scope.REVIEWER)
            asked = await self._asked(caller, review_id, decision, fields, digest)
            await decide(self._services, caller, asked)
        except ApiProblem as error:
            if error.status_code == 404:
                raise
            put_notice(request, response, "refused", f"Refused. {error.problem.detail}")
        else:
            put_notice(request, response, "done", DONE[decision])
        return response

    async def _asked(
        self,
        caller: Caller,
        review_id: str,
        decision: str,
        fields: Mapping[str, str],
        digest: str | None,
    ) -> Decide:
        body: Json = None
        if decision == "edit":
            row = await find(self._services, caller.tenant, review_id)
            shown = await self._services.reviews.shown(row)
            body = edited(await self._services.form(row), shown, fields)
        return Decide(
            review_id=review_id,
            decision=cast(Any, decision),
            shown_digest=digest or fields.get("shown_digest", ""),
            body=body,
            comment=fields.get("comment", "")[:1000] or None,
        )


def _inbox_of(caller: Caller, query: Mapping[str, str]) -> Inbox:
    status = query.get("status", "")
    mine = held(caller)
    return Inbox(
        tenant=caller.tenant,
        held=None if mine is None or "all" in query else tuple(mine),
        status=ReviewStage(status) if status in set(ReviewStage) else ReviewStage.OPEN,
        cursor=query.get("cursor") or None,
    )


def _inbox(wanted: Inbox, found: FoundReviews, *, everything: bool) -> dict[str, Any]:
    return {
        "inbox": wanted,
        "everything": everything,
        "rows": [(row, review_look(row.status)) for row in found.rows],
        "next": found.next,
        "stages": [(stage.value, review_look(stage)) for stage in ReviewStage],
    }


def _apart(shown: Json) -> tuple[str | None, Json]:
    """Text for people, and the data beside it."""
    if isinstance(shown, str):
        return shown, None
    if isinstance(shown, dict):
        members = cast("dict[str, Json]", shown)
        text = members.get(TITLE_MEMBER)
        if isinstance(text, str):
            rest = {name: value for name, value in members.items() if name != TITLE_MEMBER}
            return text, rest or None
    return None, cast(Json, shown)
