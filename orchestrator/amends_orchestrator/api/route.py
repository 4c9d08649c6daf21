"""What every route of REST does before its own work: who asks, may they, is the request in form.

A route without `needs` (or `open_to_all`) cannot be added, so none is open by oversight. Query
parameters that a route does not know, or that come twice, are refused: a misspelt filter must not
answer with everything.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from amends_contracts.names import BODY_BYTES_MAX
from amends_contracts.problems import FieldError, ProblemType
from amends_orchestrator.api.body import JSON_TYPES, StrictRequest, media_type
from amends_orchestrator.api.guard import Guard, require
from amends_orchestrator.api.ports import Caller, Scope
from amends_orchestrator.api.problems import ApiProblem

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LABEL_PREFIX: Final = "label."
_MARK: Final = "__amends_needs__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a route asks of a request."""

    scope: Scope | None
    """None: open to all."""
    query: frozenset[str] = frozenset()
    labels: bool = False
    """Whether `label.<name>` parameters are known too."""
    body_types: tuple[str, ...] = JSON_TYPES
    body_bytes_max: int = BODY_BYTES_MAX


def needs(
    scope: Scope | None,
    *query: str,
    labels: bool = False,
    body_types: tuple[str, ...] = JSON_TYPES,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint with the scope it needs (None: open to all) and the queries it knows."""

    def mark(endpoint: Endpoint) -> Endpoint:
        wanted = Needs(
            scope=scope,
            query=frozenset(query),
            labels=labels,
            body_types=body_types,
            body_bytes_max=body_bytes_max,
        )
        setattr(endpoint, _MARK, wanted)
        return endpoint

    return mark


def needs_of(endpoint: Callable[..., Any]) -> Needs:
    """What an endpoint was marked with."""
    wanted = getattr(endpoint, _MARK, None)
    assert isinstance(wanted, Needs), f"{endpoint!r} says not who may call it: mark it with needs()"
    return wanted


def _is_label(name: str) -> bool:
    return name.startswith(LABEL_PREFIX) and len(name) > len(LABEL_PREFIX)


def _check_query(request: Request, wanted: Needs) -> None:
    seen: set[str] = set()
    errors: list[FieldError] = []
    for name, _ in request.query_params.multi_items():
        if name not in wanted.query and not (wanted.labels and _is_label(name)):
            remedy = f"Known here: {', '.join(sorted(wanted.query)) or 'none'}."
            errors.append(FieldError(path=f"/query/{name}", reason="not known", remedy=remedy))
        elif name in seen:
            errors.append(FieldError(path=f"/query/{name}", reason="given twice"))
        seen.add(name)
    if errors:
        detail = f"{errors[0].path}: {errors[0].reason}"
        raise ApiProblem(ProblemType.BAD_REQUEST, detail, errors=errors[:20])


def _check_type(request: Request, wanted: Needs) -> None:
    sent = media_type(request)
    if sent not in wanted.body_types:
        known = " or ".join(wanted.body_types[:2])
        detail = f"The content type is {sent or 'missing'}; send {known}."
        raise ApiProblem(ProblemType.BAD_REQUEST, detail, status=415)


class GuardedRoute(APIRoute):
    """A route that knows its `Needs`."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()
        wanted = needs_of(self.endpoint)

        async def handle(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            strict.bytes_max = wanted.body_bytes_max
            if wanted.scope is not None:
                guard: Guard = request.app.state.guard
                caller = await guard.caller(request)
                require(caller, wanted.scope)
                request.state.caller = caller
            _check_query(request, wanted)
            if request.method == "POST":
                _check_type(request, wanted)
            return await inner(strict)

        return handle


def router(tag: str, prefix: str = "") -> APIRouter:
    """A router whose routes are all guarded."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=GuardedRoute)


def _caller(request: Request) -> Caller:
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
