"""Routes that start sagas and read them: start, list, one (also waiting for its end), journal,
undo plan.
"""

import time
from typing import Annotated, Any, Final

from fastapi import Path, Query, Request
from starlette.responses import JSONResponse

from amends_contracts.messages import Start, Trace
from amends_contracts.names import SagaId, is_undo_start_key
from amends_orchestrator.api.models import (
    UUID_PATTERN,
    JournalItem,
    JournalList,
    NameText,
    SagaItem,
    SagaList,
    SagaOut,
    StartIn,
    StartOut,
    UndoPlanOut,
)
from amends_orchestrator.api.openapi import problems
from amends_orchestrator.api.ports import SagaRow, Scope
from amends_orchestrator.api.problems import bad_field, refused
from amends_orchestrator.api.route import LABEL_PREFIX, CallerDep, needs, router
from amends_orchestrator.api.services import Services, ServicesDep
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.state import TERMINAL, SagaStatus

WAIT_S_MAX: Final = 60
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
JOURNAL_MAX: Final = 1000
LABELS_MAX: Final = 8

routes = router("sagas", "/v1/sagas")
SagaPath = Annotated[str, Path(pattern=UUID_PATTERN, description="The saga's id")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


def trace_of(request: Request) -> Trace | None:
    """The caller's W3C trace context, in which the saga's trace begins."""
    parent = request.headers.get("traceparent")
    if parent is None:
        return None
    return Trace(parent, request.headers.get("tracestate"), request.headers.get("baggage"))


def item_of(row: SagaRow) -> SagaItem:
    """A saga as it stands in a list."""
    return SagaItem(
        saga_id=row.identity.saga_id,
        definition=row.identity.definition,
        version=row.identity.version,
        key=row.identity.key,
        kind="undo" if is_undo_start_key(row.identity.key) else "saga",
        status=row.status,
        residue=row.residue,
        labels=dict(row.labels),
        started_at=row.started_at,
        ended_at=row.ended_at,
        trace_id=row.trace_id,
    )


@routes.post(
    "",
    status_code=201,
    response_model=StartOut,
    responses={
        200: {"model": StartOut, "description": "This start was made before; the same saga"},
        **problems(400, 404, 409, 413, 415, 422, 429),
    },
)
@needs(Scope.STARTER)
async def start(
    body: StartIn, request: Request, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Start a saga, once per tenant, definition and key.

    Answered after commit: then the saga runs to its end, whatever crashes. The same start again
    gives the same saga; the same key with another input is refused.
    """
    message = Start(
        definition=body.definition,
        key=body.key,
        input=body.input,
        version=body.version,
        labels=body.labels,
    )
    answer = await services.orchestrator.start(
        caller.tenant, caller.name, message, trace=trace_of(request)
    )
    if isinstance(answer, Refused):
        raise refused(answer)
    return JSONResponse(
        {"saga_id": answer.saga_id, "created": answer.created},
        status_code=201 if answer.created else 200,
        headers={"Location": f"/v1/sagas/{answer.saga_id}"},
    )


def label_filters(request: Request) -> dict[str, str]:
    """The `label.<name>=<value>` parameters."""
    labels = {
        name.removeprefix(LABEL_PREFIX): value
        for name, value in request.query_params.items()
        if name.startswith(LABEL_PREFIX)
    }
    if len(labels) > LABELS_MAX:
        raise bad_field("/query", f"more than {LABELS_MAX} labels")
    return labels


@routes.get("", response_model=SagaList, responses=problems(422))
@needs(Scope.VIEWER, "definition", "status", "cursor", "limit", labels=True)
async def page(
    *,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    definition: Annotated[NameText | None, Query()] = None,
    status: Annotated[SagaStatus | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = PAGE_DEFAULT,
) -> Any:
    """Sagas of the tenant, newest first; filter by definition, status and `label.<name>=<value>`.

    Pages go by key, not by number: a page stays correct while sagas are added.
    """
    labels = label_filters(request)
    try:
        found = await services.reads.list_sagas(
            caller.tenant,
            definition=definition,
            status=status,
            labels=labels,
            cursor=cursor,
            limit=limit,
        )
    except ValueError as error:
        raise bad_field("/query/cursor", str(error) or "not a cursor of this list") from None
    return SagaList(items=[item_of(row) for row in found.items], next=found.next)


async def ended_or_late(services: Services, row: SagaRow, wait_s: float) -> bool:
    """Wait for the saga's end, at most `wait_s`; whether it changed meanwhile."""
    seen = (row.seq, row.status)
    until = time.monotonic() + wait_s
    while seen[1] not in TERMINAL:
        head = await services.heads.changed(row.identity.saga_id, seen, until - time.monotonic())
        if head is None:
            break
        seen = head
    return seen != (row.seq, row.status)


@routes.get("/{saga_id}", response_model=SagaOut, responses=problems(404, 422, 501))
@needs(Scope.VIEWER, "wait")
async def one(
    saga_id: SagaPath,
    caller: CallerDep,
    services: ServicesDep,
    wait: Annotated[
        int, Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for the saga's end")
    ] = 0,
) -> JSONResponse:
    """A saga with its steps, its failure, what it holds and what stays.

    With `wait` the answer comes when the saga has ended, or after so many seconds as it then is.
    """
    row = await services.saga(caller.tenant, SagaId(saga_id))
    if wait and await ended_or_late(services, row, wait):
        row = await services.saga(caller.tenant, SagaId(saga_id))
    return JSONResponse(await services.view(row))


@routes.get("/{saga_id}/journal", response_model=JournalList, responses=problems(404, 422))
@needs(Scope.VIEWER, "cursor", "limit")
async def journal(
    saga_id: SagaPath,
    caller: CallerDep,
    services: ServicesDep,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$")] = None,
    limit: Annotated[int, Query(ge=1, le=JOURNAL_MAX)] = 100,
) -> Any:
    """The saga's facts in order, inputs and outputs included."""
    row = await services.saga(caller.tenant, SagaId(saga_id))
    rows = await services.reads.journal(
        caller.tenant, row.identity.saga_id, after_seq=int(cursor or 0), limit=limit + 1
    )
    items = [
        JournalItem(seq=r.seq, at=r.at, kind=r.kind, step=r.step, attempt=r.attempt, data=r.data)
        for r in rows[:limit]
    ]
    return JournalList(items=items, next=str(items[-1].seq) if len(rows) > limit else None)


@routes.get("/{saga_id}/undo-plan", response_model=UndoPlanOut, responses=problems(404, 422, 501))
@needs(Scope.VIEWER)
async def undo_plan(saga_id: SagaPath, caller: CallerDep, services: ServicesDep) -> Any:
    """What a compensation would do if it began now, in order, and what would stay."""
    row = await services.saga(caller.tenant, SagaId(saga_id))
    return JSONResponse({"items": await services.undo_plan(row)})
