"""How REST refuses: every error is an RFC 9457 problem, the framework's own included."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from amends_contracts.problems import PROBLEM_CONTENT_TYPE, FieldError, Problem, ProblemType
from amends_orchestrator.api.headers import SENT
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.engine.ports import BadData, StoreUnavailable

log = logging.getLogger(__name__)

STATUS: Final[Mapping[str, int]] = {
    ProblemType.BAD_REQUEST: 422,
    ProblemType.INVALID_INPUT: 422,
    ProblemType.BAD_DEFINITION: 422,
    ProblemType.BAD_EXPRESSION: 422,
    ProblemType.UNAUTHENTICATED: 401,
    ProblemType.FORBIDDEN: 403,
    ProblemType.NOT_FOUND: 404,
    ProblemType.KEY_CONFLICT: 409,
    ProblemType.NAME_CONFLICT: 409,
    ProblemType.PAST_PIVOT: 409,
    ProblemType.WRONG_STATE: 409,
    ProblemType.REVIEW_CHANGED: 409,
    ProblemType.WINDOW_CLOSED: 409,
    ProblemType.VERSION_CONFLICT: 409,
    ProblemType.RETIRED: 409,
    ProblemType.UNDO_DEBT: 409,
    ProblemType.TOO_LARGE: 413,
    ProblemType.OVERLOADED: 429,
    ProblemType.INTERNAL: 500,
    ProblemType.ENGINE_FAULT: 500,
    ProblemType.UNSUPPORTED: 501,
    ProblemType.NOT_READY: 503,
}
"""HTTP status of a problem type; any other type is a refusal by state, 409."""

TITLE: Final[Mapping[str, str]] = {
    ProblemType.BAD_REQUEST: "The request cannot be understood",
    ProblemType.INVALID_INPUT: "The input does not fit the definition",
    ProblemType.BAD_DEFINITION: "The definition cannot work",
    ProblemType.UNAUTHENTICATED: "No valid API key",
    ProblemType.FORBIDDEN: "The key's scope does not reach that far",
    ProblemType.NOT_FOUND: "Not found",
    ProblemType.KEY_CONFLICT: "The key is taken by a start with another input",
    ProblemType.NAME_CONFLICT: "The name stands for something else",
    ProblemType.PAST_PIVOT: "The saga is past its pivot",
    ProblemType.WINDOW_CLOSED: "The window for an undo has closed",
    ProblemType.REVIEW_CHANGED: "What was shown has changed",
    ProblemType.WRONG_STATE: "The saga is not in a state for that",
    ProblemType.VERSION_CONFLICT: "The version exists with other content",
    ProblemType.RETIRED: "The version takes no new starts",
    ProblemType.UNDO_DEBT: "The version is still needed",
    ProblemType.TOO_LARGE: "Too large",
    ProblemType.OVERLOADED: "Too much at once",
    ProblemType.UNSUPPORTED: "Not supported by this version",
    ProblemType.NOT_READY: "Not ready",
    ProblemType.INTERNAL: "Internal error",
}

RETRY_AFTER_S: Final[Mapping[str, int]] = {ProblemType.OVERLOADED: 1, ProblemType.NOT_READY: 2}
"""`Retry-After` of refusals that pass by themselves."""


class ApiProblem(HTTPException):
    """A refusal, raised anywhere below a route. An HTTPException, so that the framework lets it
    through where it reads bodies.
    """

    def __init__(
        self,
        type_: ProblemType | str,
        detail: str,
        *,
        status: int | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        code = status or STATUS.get(type_, 409)
        super().__init__(code, detail, dict(headers) if headers else None)
        self.problem = Problem(
            type=str(type_),
            title=TITLE.get(type_, "Refused"),
            status=code,
            detail=detail,
            errors=tuple(errors),
        )


def bad_field(path: str, reason: str, remedy: str | None = None) -> ApiProblem:
    """422 with the one offending field; `path` is a JSON pointer."""
    error = FieldError(path=path, reason=reason, remedy=remedy)
    return ApiProblem(ProblemType.BAD_REQUEST, f"{path}: {reason}", errors=[error])


def refused(answer: Refused) -> ApiProblem:
    """A refusal of core or engine, as it is said over HTTP."""
    errors: Sequence[FieldError] = getattr(answer, "errors", ())
    return ApiProblem(answer.type, answer.detail, errors=errors)


def problem_response(
    problem: Problem, request: Request | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The response of a problem, with what belongs to its type beside it."""
    if request is not None and problem.instance is None:
        problem = problem.model_copy(update={"instance": request.url.path})
    status = problem.status or 500
    sent = dict(headers or {})
    if (wait_s := RETRY_AFTER_S.get(problem.type)) is not None:
        sent.setdefault("Retry-After", str(wait_s))
    if status == 401:
        sent.setdefault("WWW-Authenticate", 'Bearer realm="amends"')
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status,
        media_type=PROBLEM_CONTENT_TYPE,
        headers=sent,
    )


def _pointer(location: Sequence[Any]) -> str:
    """The framework's location as a JSON pointer; members of a body without a prefix."""
    parts = list(location)
    if parts and parts[0] == "body":
        parts = parts[1:]
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)


_FRAMEWORK: Final[Mapping[int, tuple[ProblemType, str]]] = {
    401: (ProblemType.UNAUTHENTICATED, "Send Authorization: Bearer <key>."),
    403: (ProblemType.FORBIDDEN, "Not allowed."),
    404: (ProblemType.NOT_FOUND, "There is nothing under this path; see /openapi.json."),
    405: (ProblemType.BAD_REQUEST, "This path does not answer to that method."),
    413: (ProblemType.TOO_LARGE, "The body is too large."),
    429: (ProblemType.OVERLOADED, "Try again shortly."),
}


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, ApiProblem):
        return problem_response(error.problem, request, error.headers)
    kind, detail = _FRAMEWORK.get(error.status_code, (ProblemType.BAD_REQUEST, error.detail))
    if error.status_code >= 500:
        kind = ProblemType.INTERNAL
    problem = Problem(
        type=kind,
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=detail,
    )
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request)) or headers.get("Allow", "GET")
    return problem_response(problem, request, headers)


def _methods(request: Request) -> list[str]:
    """All methods of a path; the framework knows only those of one route of it."""
    routers: Sequence[APIRouter] = getattr(request.app.state, "routers", ())
    found: set[str] = set()
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.path_regex.match(request.url.path):
            found |= route.methods or set()
    return sorted(found)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(path=_pointer(e["loc"]), reason=str(e["msg"])) for e in error.errors()[:20]
    ]
    first = errors[0] if errors else FieldError(path="", reason="invalid")
    detail = f"{first.path or 'the body'}: {first.reason}"
    return problem_response(
        ApiProblem(ProblemType.BAD_REQUEST, detail, errors=errors).problem, request
    )


async def _on_unavailable(request: Request, error: Exception) -> Response:
    log.warning("the database did not answer: %s", error)
    detail = (
        "The database is away or slow; a change under way may have happened. Repeat the request:"
        " starts, signals and operator actions are safe to repeat."
    )
    return problem_response(ApiProblem(ProblemType.NOT_READY, detail).problem, request)


async def _on_bad_data(request: Request, error: Exception) -> Response:
    log.info("%s %s: %s", request.method, request.url.path, error)
    detail = "The request holds a value that the database cannot hold, such as a text with U+0000."
    return problem_response(ApiProblem(ProblemType.BAD_REQUEST, detail).problem, request)


async def _on_anything(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "Something is wrong on our side; the log has it."
    # This answer is made outside of the middleware that adds them.
    return problem_response(ApiProblem(ProblemType.INTERNAL, detail).problem, request, SENT)


def install(app: FastAPI) -> None:
    """Make every error of this application a problem."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(StoreUnavailable, _on_unavailable)
    app.add_exception_handler(BadData, _on_bad_data)
    app.add_exception_handler(TimeoutError, _on_unavailable)
    app.add_exception_handler(Exception, _on_anything)
