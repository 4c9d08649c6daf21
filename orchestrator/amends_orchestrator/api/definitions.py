"""Routes of definitions: register, read, list. Definitions are shared by all tenants."""

from typing import Annotated, Any

from fastapi import Path, Request
from starlette.responses import JSONResponse

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.body import DEFINITION_BYTES_MAX, DEFINITION_TYPES
from amends_orchestrator.api.models import (
    DefinitionItem,
    DefinitionList,
    DefinitionOut,
    NameText,
    ReasonIn,
    UndoDebt,
    Version,
)
from amends_orchestrator.api.openapi import DEFINITION_BODY, problems
from amends_orchestrator.api.ports import Checked, Debt, DefinitionRow, Registered, Scope
from amends_orchestrator.api.problems import ApiProblem
from amends_orchestrator.api.route import CallerDep, needs, router
from amends_orchestrator.api.services import Services, ServicesDep

routes = router("definitions", "/v1/definitions")


def _item(row: DefinitionRow, debt: Debt | None = None) -> DefinitionItem:
    return DefinitionItem(
        name=row.name,
        version=row.version,
        digest=row.digest,
        registered_at=row.registered_at,
        retired_at=row.retired_at,
        debt=None if debt is None else UndoDebt(open=debt.open, undoable=debt.undoable),
    )


def _full(row: DefinitionRow, debt: Debt | None = None) -> DefinitionOut:
    return DefinitionOut(**_item(row, debt).model_dump(), document=row.document)


@routes.post(
    "",
    status_code=201,
    response_model=DefinitionOut,
    responses={
        200: {"model": DefinitionOut, "description": "It is registered already, with this content"},
        **problems(400, 409, 413, 415, 422),
    },
    openapi_extra={"requestBody": DEFINITION_BODY},
)
@needs(Scope.ADMIN, body_types=DEFINITION_TYPES, body_bytes_max=DEFINITION_BYTES_MAX)
async def register(request: Request, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """Register a definition, in JSON or YAML.

    A name and version stand for one content for ever: the same content again is answered with
    200, another is refused. What the definition leaves open is filled in from what participants
    say of their commands.
    """
    body = await request.body()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ApiProblem(ProblemType.BAD_REQUEST, "The body is not UTF-8.", status=400) from None
    checked = await services.checker.check(text)
    if not isinstance(checked, Checked):
        first = checked[0]
        detail = f"{first.path or 'the document'}: {first.reason}"
        raise ApiProblem(ProblemType.BAD_DEFINITION, detail, errors=checked)
    done = Registered(await services.definitions.register(checked.document, checked.digest))
    name, version = checked.document["name"], checked.document["version"]
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action="register",
        subject=f"{name}@{version}",
        outcome=str(ProblemType.VERSION_CONFLICT) if done is Registered.CONFLICT else "done",
    )
    if done is Registered.CONFLICT:
        detail = f"{name}@{version} is registered with other content; raise the version."
        raise ApiProblem(ProblemType.VERSION_CONFLICT, detail)
    services.registered(name)
    row = await services.definitions.get(name, version)
    assert row is not None, "a registered definition is there"
    return JSONResponse(
        _full(row).model_dump(mode="json"),
        status_code=201 if done is Registered.CREATED else 200,
        headers={"Location": f"/v1/definitions/{name}/{version}"},
    )


@routes.get("", response_model=DefinitionList, responses=problems(422))
@needs(Scope.VIEWER)
async def newest(services: ServicesDep) -> Any:
    """The newest version of every definition."""
    return DefinitionList(items=[_item(row) for row in await services.definitions.list()])


@routes.get("/{name}", response_model=DefinitionList, responses=problems(404, 422))
@needs(Scope.VIEWER)
async def versions(name: Annotated[NameText, Path()], services: ServicesDep) -> Any:
    """All versions of a definition, newest first, with the sagas that hold them."""
    rows = await services.definitions.list(name)
    if not rows:
        raise ApiProblem(ProblemType.NOT_FOUND, f"There is no definition {name}.")
    items = [_item(row, await services.definitions.debt(row)) for row in rows]
    return DefinitionList(items=items)


@routes.get("/{name}/{version}", response_model=DefinitionOut, responses=problems(404, 422))
@needs(Scope.VIEWER)
async def one(
    name: Annotated[NameText, Path()], version: Annotated[Version, Path()], services: ServicesDep
) -> Any:
    """One version with its document, as it runs."""
    row = await _found(services, name, version)
    return _full(row, await services.definitions.debt(row))


@routes.post(
    "/{name}/{version}/retire",
    response_model=DefinitionItem,
    responses=problems(400, 404, 409, 413, 415, 422),
)
@needs(Scope.ADMIN)
async def retire(
    name: Annotated[NameText, Path()],
    version: Annotated[Version, Path()],
    asked: ReasonIn,
    caller: CallerDep,
    services: ServicesDep,
) -> Any:
    """Let a version take no new starts; again is no change.

    Refused while it owes something: sagas of it that have not ended, or completed ones whose undo
    window (`compensable_for`) is open. The document stays. Other orchestrators learn of it within
    seconds.
    """
    row = await _found(services, name, version)
    debt = await services.definitions.retire(row)
    await services.audit.record(
        tenant=caller.tenant,
        who=caller.name,
        action="retire",
        subject=f"{name}@{version}",
        reason=asked.reason,
        outcome=str(ProblemType.UNDO_DEBT) if debt else "done",
    )
    if debt:
        raise ApiProblem(ProblemType.UNDO_DEBT, f"{name}@{version} {_owed(debt)}.")
    services.registered(name)
    return _item(await _found(services, name, version), debt)


async def _found(services: Services, name: str, version: int) -> DefinitionRow:
    row = await services.definitions.get(name, version)
    if row is None:
        raise ApiProblem(ProblemType.NOT_FOUND, f"There is no definition {name}@{version}.")
    return row


def _owed(debt: Debt) -> str:
    """Why a version cannot be retired, in words."""
    parts: list[str] = []
    if debt.open:
        parts.append(f"has {debt.open} {_sagas(debt.open)} that did not end yet")
    if debt.undoable:
        window = f"{debt.undoable} completed {_sagas(debt.undoable)} whose undo window is open"
        parts.append(window if parts else f"has {window}")
    return " and ".join(parts)


def _sagas(n: int) -> str:
    return "saga" if n == 1 else "sagas"
