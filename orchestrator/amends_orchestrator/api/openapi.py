"""The OpenAPI 3.1 document: security per route, problems per answer, examples."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem, ProblemType
from amends_orchestrator.api.problems import TITLE
from amends_orchestrator.api.route import GuardedRoute, needs_of

_WHEN: Final[Mapping[int, tuple[str, ProblemType]]] = {
    400: ("The body is not JSON", ProblemType.BAD_REQUEST),
    401: ("No valid key", ProblemType.UNAUTHENTICATED),
    403: ("The key's scope does not reach that far", ProblemType.FORBIDDEN),
    404: ("Not there, or of another tenant", ProblemType.NOT_FOUND),
    405: ("Another method", ProblemType.BAD_REQUEST),
    409: ("Refused by the state of things", ProblemType.WRONG_STATE),
    413: ("The body is too long", ProblemType.TOO_LARGE),
    415: ("Another content type", ProblemType.BAD_REQUEST),
    422: ("A field is wrong; `errors` names it", ProblemType.BAD_REQUEST),
    429: ("Too much at once; see Retry-After", ProblemType.OVERLOADED),
    501: ("Not supported by this version", ProblemType.UNSUPPORTED),
    503: ("Database or broker is away; see Retry-After", ProblemType.NOT_READY),
}

DEFINITION_EXAMPLE: Final = {
    "name": "book-trip",
    "version": 1,
    "input": {
        "type": "object",
        "properties": {"traveller": {"type": "string"}, "to": {"type": "string"}},
        "required": ["traveller", "to"],
    },
    "steps": [
        {
            "id": "flight",
            "kind": "action",
            "command": "flights.reserve",
            "input": {"traveller": "${ input.traveller }", "to": "${ input.to }"},
            "compensation": {"command": "flights.release"},
        }
    ],
}
DEFINITION_BODY: Final[Mapping[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "object"}, "example": DEFINITION_EXAMPLE},
        "application/yaml": {"schema": {"type": "object"}, "example": DEFINITION_EXAMPLE},
    },
}
ABOUT: Final = (
    "Start sagas, watch them, and act on them. Every error is an RFC 9457 problem recognised by its"
    " `type`. Lists answer `{items, next}`; pass `next` as `cursor` for the following page."
    " Unknown query parameters are refused."
)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for these statuses, each a problem with an example."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    when, kind = _WHEN[status]
    example = {"type": str(kind), "title": TITLE[kind], "status": status, "detail": when}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": when,
        "content": {PROBLEM_CONTENT_TYPE: {"schema": schema, "example": example}},
    }


def _drop_framework_schemas(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem


def document_of(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary="Saga orchestration over Postgres and RabbitMQ",
        description=ABOUT,
        routes=app.routes,
    )
    document["components"].setdefault("securitySchemes", {})["key"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. Its scope says what it may do; its tenant, what it sees.",
    }
    for route in [route for router in routers for route in router.routes]:
        if not isinstance(route, GuardedRoute) or not route.include_in_schema:
            continue
        wanted = needs_of(route.endpoint)
        for method in route.methods or ():
            operation = document["paths"][route.path][method.lower()]
            if wanted.scope is None:
                continue
            operation["security"] = [{"key": []}]
            operation["description"] += f"\n\nScope: `{wanted.scope}`."
            for status in (401, 403, 503):
                operation["responses"].setdefault(str(status), _problem(status))
    _drop_framework_schemas(document)
    app.openapi_schema = document
    return document
