"""Routes of reviews, and the one function by which REST and pages decide them.

Who decides is the authenticated caller. A decision is a message to the core, which says whether it
still counts; it stands in the journal, and in the audit record also if it was refused.
"""

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path, Query, Request
from starlette.responses import JSONResponse

from amends_contracts.messages import Decide, Json
from amends_contracts.names import SagaId
from amends_contracts.problems import ProblemType
from amends_orchestrator.api.openapi import problems
from amends_orchestrator.api.ports import Caller, ReviewRow, Scope
from amends_orchestrator.api.problems import ApiProblem, bad_field, refused
from amends_orchestrator.api.review_links import Link
from amends_orchestrator.api.review_models import (
    REVIEW_ID_PATTERN,
    DecidedOut,
    DecisionIn,
    LinkIn,
    LinkOut,
    ReviewItem,
    ReviewList,
    ReviewOut,
)
from amends_orchestrator.api.route import CallerDep, needs, router
from amends_orchestrator.api.services import Services, ServicesDep
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.reviews import EVERYBODY, ROLE, ReviewStage, split_review_id

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
LINK_PATH: Final = "/console/review/"

routes = router("reviews", "/v1/reviews")
ReviewPath = Annotated[str, Path(pattern=REVIEW_ID_PATTERN, description="The review's id")]


async def find(services: Services, tenant: str, review_id: str) -> ReviewRow:
    """A review of this tenant, or 404: another tenant's review is not there."""
    found = split_review_id(review_id)
    row = None if found is None else await services.reviews.get(tenant, *found)
    if row is None:
        raise ApiProblem(ProblemType.NOT_FOUND, f"There is no review {review_id}.")
    return row


async def decide(services: Services, caller: Caller, asked: Decide) -> Decision:
    """Give the engine a decision and keep the record of it. ApiProblem if it is refused."""
    row = await find(services, caller.tenant, asked.review_id)
    answer = await services.orchestrator.decide(caller.tenant, caller.name, caller.roles, asked)
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action=f"review.{asked.decision}",
        saga_id=row.saga_id,
        step=row.step,
        subject=asked.review_id,
        reason=asked.comment,
        outcome=str(answer.type) if isinstance(answer, Refused) else "done",
    )
    if isinstance(answer, Refused):
        raise refused(answer)
    return answer


def held(caller: Caller) -> list[str] | None:
    """What a review may be for so that this caller may decide it; None: anything."""
    if EVERYBODY in caller.roles:
        return None
    return [caller.name, *(f"{ROLE}{role}" for role in sorted(caller.roles))]


def item_of(row: ReviewRow) -> ReviewItem:
    """A review as it stands in a list."""
    return ReviewItem(
        review_id=row.review_id,
        saga_id=row.saga_id,
        definition=row.definition,
        version=row.version,
        key=row.key,
        step=row.step,
        command=row.command,
        title=row.title,
        status=row.status,
        quorum=row.quorum,
        assignees=list(row.assignees),
        approved_by=list(row.approved_by),
        digest=row.digest,
        requested_at=row.requested_at,
        due=row.due,
        decided_at=row.decided_at,
    )


async def whole(services: Services, row: ReviewRow) -> dict[str, Json]:
    """A review with what it shows, its form and what was decided on it."""
    decisions = await services.reviews.decisions(row)
    return {
        **item_of(row).model_dump(mode="json"),
        "show": await services.reviews.shown(row),
        "form": await services.form(row),
        "decisions": [
            {
                "at": one.at.isoformat(),
                "by": one.by,
                "decision": one.decision,
                "comment": one.comment,
            }
            for one in decisions
        ],
    }


@routes.get("", response_model=ReviewList, responses=problems(422))
@needs(Scope.VIEWER, "status", "mine", "cursor", "limit")
async def list_reviews(
    caller: CallerDep,
    services: ServicesDep,
    status: Annotated[ReviewStage, Query(description="One status.")] = ReviewStage.OPEN,
    mine: Annotated[bool, Query(description="Only those that this key may decide.")] = False,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
) -> JSONResponse:
    """Reviews of one status: open ones longest waiting first, others latest first."""
    try:
        page = await services.reviews.list(
            caller.tenant,
            status=status,
            held=held(caller) if mine else None,
            cursor=cursor,
            limit=limit,
        )
    except ValueError:
        raise bad_field("/query/cursor", "not a cursor that a page has given") from None
    items = [item_of(row).model_dump(mode="json") for row in page.items]
    return JSONResponse({"items": items, "next": page.next})


@routes.get("/{review_id}", response_model=ReviewOut, responses=problems(404, 422))
@needs(Scope.VIEWER)
async def review(review_id: ReviewPath, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """One review with what it shows, and what was decided on it so far."""
    return JSONResponse(await whole(services, await find(services, caller.tenant, review_id)))


@routes.post(
    "/{review_id}/decision",
    response_model=DecidedOut,
    responses=problems(400, 404, 409, 413, 415, 422, 429),
)
@needs(Scope.REVIEWER)
async def decision(
    review_id: ReviewPath, body: DecisionIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Approve, reject or edit; once, as the caller's own decision, on what `shown_digest` is of.

    Refused, and nothing happens: a review that is over or has expired, a second decision of the
    same reviewer, another digest, and whoever is not asked.
    """
    asked = Decide(
        review_id=review_id,
        decision=body.decision,
        shown_digest=body.shown_digest,
        body=body.body,
        comment=body.comment,
    )
    answer = await decide(services, caller, asked)
    return JSONResponse(decided(answer, review_id))


def decided(answer: Decision, review_id: str) -> dict[str, Json]:
    """The review, and its saga, after a decision."""
    saga = answer.saga
    found = split_review_id(review_id)
    assert found is not None
    states = [step.review for step in saga.state.steps.values() if step.review.seq == found[1]]
    return {
        "review_id": review_id,
        "status": states[0].stage.value,
        "digest": states[0].digest,
        "saga_id": saga.identity.saga_id,
        "saga_status": saga.status.value,
    }


@routes.post(
    "/{review_id}/links",
    status_code=201,
    response_model=LinkOut,
    responses=problems(400, 404, 409, 413, 415, 422),
)
@needs(Scope.ADMIN)
async def link(
    review_id: ReviewPath,
    body: LinkIn,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
) -> JSONResponse:
    """A link with which one of the review's assignees decides it, once, without a key.

    Who has the link is taken for that person: send it to nobody else. An edit ends it.
    """
    row = await find(services, caller.tenant, review_id)
    if row.status is not ReviewStage.OPEN:
        raise ApiProblem(ProblemType.WRONG_STATE, f"The review is over: {row.status}.")
    if body.reviewer not in row.assignees or body.reviewer.startswith(ROLE):
        remedy = f"it is for {', '.join(row.assignees) or 'every reviewer'}"
        raise bad_field("/reviewer", "not one whom the review names", remedy)
    if not services.links.can_sign:
        raise ApiProblem(ProblemType.UNSUPPORTED, "There is no secret to sign links with.")
    expires = int(time.time()) + body.hours * 3600
    made = Link(
        review_id=review_id,
        tenant=caller.tenant,
        reviewer=body.reviewer,
        digest=row.digest,
        expires=expires,
    )
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action="review.link",
        saga_id=SagaId(row.saga_id),
        step=row.step,
        subject=review_id,
        reason=f"for {body.reviewer}",
        outcome="done",
    )
    base = services.public_url or str(request.base_url)
    said: dict[str, Any] = {
        "url": base.rstrip("/") + LINK_PATH + services.links.token(made),
        "expires_at": datetime.fromtimestamp(expires, UTC).isoformat(),
    }
    return JSONResponse(said, status_code=201)
