"""Routes that hand events to sagas, by id or by definition and key.

Not audited: a signal is what a client's program does all day, and stands in the saga's journal.
"""

from typing import Any, Final

from starlette.responses import JSONResponse

from amends_contracts.messages import Signal
from amends_contracts.names import SagaId
from amends_orchestrator.api.models import ChangedOut, KeyedSignalIn, SignalIn, SignalOut
from amends_orchestrator.api.openapi import problems
from amends_orchestrator.api.ports import Caller, Scope
from amends_orchestrator.api.problems import refused
from amends_orchestrator.api.route import CallerDep, needs, router
from amends_orchestrator.api.sagas import SagaPath
from amends_orchestrator.api.services import Services, ServicesDep
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.engine.work import SignalKept

routes = router("signals", "/v1")
_PROBLEMS: Final[dict[int | str, Any]] = problems(400, 404, 409, 413, 415, 422, 429)


async def _send(services: Services, caller: Caller, asked: Signal) -> JSONResponse:
    answer = await services.orchestrator.signal(caller.tenant, caller.name, asked)
    match answer:
        case Refused():
            raise refused(answer)
        case SignalKept():
            return JSONResponse({"kept": True}, status_code=202)
        case Decision():
            saga_id, status = answer.saga.identity.saga_id, answer.saga.status
        case _:
            row = await services.saga(caller.tenant, answer.saga_id)
            saga_id, status = answer.saga_id, row.status
    return JSONResponse({"saga_id": saga_id, "status": status})


@routes.post("/sagas/{saga_id}/signal", response_model=ChangedOut, responses=_PROBLEMS)
@needs(Scope.STARTER)
async def signal(
    saga_id: SagaPath, body: SignalIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Send the saga an event, once per `id`: for the next step that awaits it, now or later.

    Refused if no step of its definition awaits such an event, and once it has turned back or ended.
    """
    await services.saga(caller.tenant, SagaId(saga_id))
    asked = Signal(saga_id=SagaId(saga_id), event=body.event, id=body.id, data=body.data)
    return await _send(services, caller, asked)


@routes.post(
    "/signals",
    response_model=SignalOut,
    responses={
        202: {"model": SignalOut, "description": "The saga is not there yet: kept for it"},
        **_PROBLEMS,
    },
)
@needs(Scope.STARTER)
async def keyed_signal(
    body: KeyedSignalIn, caller: CallerDep, services: ServicesDep
) -> JSONResponse:
    """Send an event to the saga of a definition and key, which need not be there yet.

    Without it the event is kept, at most seven days, and handed over when the saga starts.
    """
    asked = Signal(
        definition=body.definition, key=body.key, event=body.event, id=body.id, data=body.data
    )
    return await _send(services, caller, asked)
