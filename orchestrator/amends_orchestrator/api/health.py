"""Routes about the service itself: participants, liveness, readiness, metrics."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from amends_orchestrator.api.metrics import CONTENT_TYPE, render
from amends_orchestrator.api.models import Health, ParticipantItem, ParticipantList, Readiness
from amends_orchestrator.api.openapi import problems
from amends_orchestrator.api.ports import ParticipantRow, Scope
from amends_orchestrator.api.route import needs, router
from amends_orchestrator.api.services import ServicesDep

routes = router("service")


def _participant(row: ParticipantRow) -> ParticipantItem:
    said: Mapping[str, Any] = row.hello or {}
    return ParticipantItem(
        service=row.service,
        instance=row.instance,
        seen_at=row.seen_at,
        sdk=said.get("sdk"),
        accepts=sorted(said.get("accepts") or ()),
        horizon=said.get("horizon"),
        commands=said.get("commands") or {},
    )


@routes.get("/v1/participants", response_model=ParticipantList, responses=problems(422))
@needs(Scope.VIEWER)
async def participants(services: ServicesDep) -> Any:
    """Participant instances and the commands they serve, as they last said hello."""
    rows = await services.reads.participants()
    return ParticipantList(items=[_participant(row) for row in rows])


@routes.get("/healthz", response_model=Health)
@needs(None)
async def alive() -> Any:
    """The process lives. Says nothing of database and broker: do not restart it for those."""
    return Health(status="ok")


@routes.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something is missing"}},
)
@needs(None)
async def ready(services: ServicesDep) -> JSONResponse:
    """Leases are held, broker and database answer."""
    checks = await services.checks()
    is_ready = all(checks.values())
    answer = Readiness(status="ready" if is_ready else "not-ready", checks=checks)
    headers = {} if is_ready else {"Retry-After": "2"}
    return JSONResponse(answer.model_dump(), status_code=200 if is_ready else 503, headers=headers)


@routes.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
@needs(Scope.VIEWER)
async def metrics(services: ServicesDep) -> Response:
    """Counters and gauges in Prometheus' text format; nothing of a single tenant."""
    return Response(render(services.orchestrator.stats()), media_type=CONTENT_TYPE)
