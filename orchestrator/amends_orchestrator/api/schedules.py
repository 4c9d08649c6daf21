"""Routes of schedules: add, list, remove. What a schedule starts are sagas like all others."""

from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Path
from starlette.responses import JSONResponse

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.models import NameText, ScheduleIn, ScheduleList, ScheduleOut
from amends_orchestrator.api.openapi import problems
from amends_orchestrator.api.ports import Caller, Scope
from amends_orchestrator.api.problems import ApiProblem, bad_field
from amends_orchestrator.api.route import CallerDep, needs, router
from amends_orchestrator.api.services import Services, ServicesDep
from amends_orchestrator.core.cron import Cron, CronError, parse
from amends_orchestrator.engine.ports import Schedule

routes = router("schedules", "/v1/schedules")


def out_of(row: Schedule) -> ScheduleOut:
    """A schedule as REST shows it."""
    return ScheduleOut(
        name=row.name,
        definition=row.definition,
        version=row.version,
        cron=row.cron,
        zone=row.zone,
        input=row.input,
        labels=dict(row.labels),
        catch_up=row.catch_up,
        catch_up_max=row.catch_up_max,
        added_by=row.added_by,
        added_at=row.added_at,
        next_at=row.next_at,
        last_at=row.last_at,
        last_saga_id=row.last_saga_id,
        last_problem=row.last_problem,
    )


def _cron_of(text: str) -> Cron:
    try:
        return parse(text)
    except CronError as error:
        remedy = "For example `30 2 * * mon-fri`: minute hour day-of-month month day-of-week"
        raise bad_field("/cron", str(error), remedy) from None


def _zone_of(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        remedy = "Name one of the IANA database, such as Europe/Zurich, or UTC"
        raise bad_field("/zone", f"no time zone {name[:80]!r} is known here", remedy) from None


async def _same(body: ScheduleIn, caller: Caller, services: Services) -> Schedule:
    """The schedule that has this name, if it says the same; else 409."""
    there = await services.schedules.list(caller.tenant, body.name)
    said = body.model_dump()
    if there and {name: getattr(there[0], name) for name in said} == said:
        return there[0]
    detail = f"There is a schedule {body.name} that says something else; remove it first."
    raise ApiProblem(ProblemType.NAME_CONFLICT, detail)


@routes.post(
    "",
    status_code=201,
    response_model=ScheduleOut,
    responses={
        200: {"model": ScheduleOut, "description": "It is there already, and says the same"},
        **problems(400, 404, 409, 413, 415, 422),
    },
)
@needs(Scope.OPERATOR)
async def add(body: ScheduleIn, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """Start sagas by the clock: one for each time that the expression names in the time zone.

    The start's key is `<schedule>@<time in UTC>`, so each time starts one saga, whatever crashes.
    """
    cron, zone = _cron_of(body.cron), _zone_of(body.zone)
    if await services.definitions.get(body.definition, body.version) is None:
        version = "" if body.version is None else f"@{body.version}"
        detail = f"There is no definition {body.definition}{version}."
        raise ApiProblem(ProblemType.NOT_FOUND, detail)
    now = await services.schedules.now()
    next_at = cron.after(now, zone)
    assert next_at is not None, "an expression that was read names a time"
    schedule = Schedule(
        tenant=caller.tenant,
        **body.model_dump(),
        added_by=caller.name,
        added_at=now,
        next_at=next_at,
    )
    created = await services.schedules.add(schedule)
    shown = schedule if created else await _same(body, caller, services)
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action="schedule.add",
        subject=body.name,
        outcome="done",
    )
    return JSONResponse(out_of(shown).model_dump(mode="json"), status_code=201 if created else 200)


@routes.get("", response_model=ScheduleList, responses=problems(422))
@needs(Scope.VIEWER)
async def listed(caller: CallerDep, services: ServicesDep) -> Any:
    """All schedules of the tenant, by name, with what each started last and will start next."""
    rows = await services.schedules.list(caller.tenant)
    return ScheduleList(items=[out_of(row) for row in rows])


@routes.delete("/{name}", response_model=ScheduleOut, responses=problems(404, 422))
@needs(Scope.OPERATOR)
async def remove(
    name: Annotated[NameText, Path()], caller: CallerDep, services: ServicesDep
) -> Any:
    """Start nothing by it any more; sagas that it has started go on."""
    rows = await services.schedules.list(caller.tenant, name)
    if not rows or not await services.schedules.remove(caller.tenant, name):
        raise ApiProblem(ProblemType.NOT_FOUND, f"There is no schedule {name}.")
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action="schedule.remove",
        subject=name,
        outcome="done",
    )
    return out_of(rows[0])
