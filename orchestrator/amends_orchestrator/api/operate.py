"""Changing a running saga: the routes and the one function that REST and console share.

Each change is a message to the core, which decides whether it fits; who asked and why stand in the
journal, and in the audit record also if it was refused.
"""

from typing import Any, Final

from fastapi import Request
from starlette.responses import JSONResponse

from amends_contracts.messages import Outcome, StartAnswer, Trace, Undo
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.api.models import (
    ChangedOut,
    ReasonIn,
    ResolveIn,
    RetryIn,
    SkipIn,
    UndoIn,
    UndoOut,
)
from amends_orchestrator.api.openapi import problems
from amends_orchestrator.api.ports import Caller, Scope
from amends_orchestrator.api.problems import refused
from amends_orchestrator.api.route import CallerDep, needs, router
from amends_orchestrator.api.sagas import SagaPath, trace_of
from amends_orchestrator.api.services import Services, ServicesDep
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import (
    CancelRequested,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    SuspendRequested,
)
from amends_orchestrator.core.state import SagaStatus

Change = (
    CancelRequested
    | SuspendRequested
    | ResumeRequested
    | RetryRequested
    | SkipRequested
    | ResolveRequested
)

ACTIONS: Final[dict[type[Change], str]] = {
    CancelRequested: "cancel",
    SuspendRequested: "suspend",
    ResumeRequested: "resume",
    RetryRequested: "retry",
    SkipRequested: "skip",
    ResolveRequested: "resolve",
}
"""What each change is called in routes, console and audit record."""

SCOPES: Final[dict[str, Scope]] = {
    action: Scope.STARTER if action == "cancel" else Scope.OPERATOR for action in ACTIONS.values()
}


async def change(
    services: Services, caller: Caller, saga_id: SagaId, message: Change
) -> SagaStatus:
    """Ask the engine for a change and keep the record of it; the saga's status afterwards.

    Raises ApiProblem if it is refused. A repetition of what is so already is no refusal.
    """
    row = await services.saga(caller.tenant, saga_id)
    answer = await services.orchestrator.submit(caller.tenant, saga_id, message)
    refusal = answer if isinstance(answer, Refused) and not answer.duplicate else None
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action=ACTIONS[type(message)],
        saga_id=saga_id,
        step=getattr(message, "path", None),
        reason=message.reason,
        outcome=str(refusal.type) if refusal else "done",
    )
    if refusal is not None:
        raise refused(refusal)
    if isinstance(answer, Refused):
        return row.status
    return answer.saga.status


routes = router("operate", "/v1/sagas/{saga_id}")
_ANSWERS: Final[dict[str, Any]] = {
    "response_model": ChangedOut,
    "responses": problems(400, 404, 409, 413, 415, 422, 429),
}


async def _changed(
    services: Services, caller: Caller, saga_id: str, message: Change
) -> JSONResponse:
    status = await change(services, caller, SagaId(saga_id), message)
    return JSONResponse({"saga_id": saga_id, "status": status})


@routes.post("/cancel", **_ANSWERS)
@needs(Scope.STARTER)
async def cancel(
    saga_id: SagaPath, body: ReasonIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Stop the saga and take back what it did. Refused past its pivot."""
    message = CancelRequested(reason=body.reason, by=caller.name)
    return await _changed(services, caller, saga_id, message)


@routes.post("/suspend", **_ANSWERS)
@needs(Scope.OPERATOR)
async def suspend(
    saga_id: SagaPath, body: ReasonIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Dispatch nothing until resumed; replies are recorded and timeouts still expire."""
    message = SuspendRequested(reason=body.reason, by=caller.name)
    return await _changed(services, caller, saga_id, message)


@routes.post("/resume", **_ANSWERS)
@needs(Scope.OPERATOR)
async def resume(
    saga_id: SagaPath, body: ReasonIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """End a suspension."""
    message = ResumeRequested(reason=body.reason, by=caller.name)
    return await _changed(services, caller, saga_id, message)


@routes.post("/retry", **_ANSWERS)
@needs(Scope.OPERATOR)
async def retry(
    saga_id: SagaPath, body: RetryIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Try a step's open operation again."""
    message = RetryRequested(path=StepPath(body.step), reason=body.reason, by=caller.name)
    return await _changed(services, caller, saga_id, message)


@routes.post("/skip", **_ANSWERS)
@needs(Scope.OPERATOR)
async def skip(
    saga_id: SagaPath, body: SkipIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Go on without a step's open operation; an effect that may be there becomes residue."""
    message = SkipRequested(
        path=StepPath(body.step),
        reason=body.reason,
        by=caller.name,
        owner=body.owner,
        evidence=body.evidence,
    )
    return await _changed(services, caller, saga_id, message)


@routes.post("/resolve", **_ANSWERS)
@needs(Scope.OPERATOR)
async def resolve(
    saga_id: SagaPath, body: ResolveIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Say what became of a step's open operation, because you know."""
    message = ResolveRequested(
        path=StepPath(body.step),
        outcome=Outcome(body.outcome),
        reason=body.reason,
        by=caller.name,
        output=body.output,
    )
    return await _changed(services, caller, saga_id, message)


@routes.post(
    "/undo",
    status_code=201,
    response_model=UndoOut,
    responses={
        200: {"model": UndoOut, "description": "It was asked for before; the same undo saga"},
        **problems(400, 404, 409, 413, 415, 422, 429),
    },
)
@needs(Scope.STARTER)
async def undo(
    saga_id: SagaPath,
    body: UndoIn,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
) -> JSONResponse:
    """Take a completed saga back, by a saga of its own, whose id is the answer.

    Refused: a saga that has not completed, a step whose undo window has closed, and, unless it is
    asked for with `across_pivot`, one that is past its pivot; `errors` lists what would stay then.
    """
    answer = await late_undo(services, caller, SagaId(saga_id), body, trace_of(request))
    return JSONResponse(
        {"saga_id": answer.saga_id, "created": answer.created},
        status_code=201 if answer.created else 200,
        headers={"Location": f"/v1/sagas/{answer.saga_id}"},
    )


async def late_undo(
    services: Services, caller: Caller, saga_id: SagaId, body: UndoIn, trace: Trace | None
) -> StartAnswer:
    """Start the undo saga and keep the record of it. Raises ApiProblem if it is refused."""
    await services.saga(caller.tenant, saga_id)
    asked = Undo(saga_id=saga_id, reason=body.reason, across_pivot=body.across_pivot)
    answer = await services.orchestrator.undo(caller.tenant, caller.name, asked, trace=trace)
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action="undo",
        saga_id=saga_id,
        step=None,
        reason=body.reason,
        outcome=str(answer.type) if isinstance(answer, Refused) else "done",
    )
    if isinstance(answer, Refused):
        raise refused(answer)
    return answer
