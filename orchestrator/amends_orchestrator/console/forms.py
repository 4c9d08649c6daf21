"""Forms of the pages, read without trust and turned into what REST would be asked."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from amends_contracts.messages import Outcome
from amends_contracts.names import StepPath
from amends_contracts.problems import ProblemType
from amends_orchestrator.api.body import media_type, read_bounded, strict_json
from amends_orchestrator.api.models import ReasonIn, ResolveIn, RetryIn, SkipIn
from amends_orchestrator.api.operate import Change
from amends_orchestrator.api.problems import ApiProblem, bad_field
from amends_orchestrator.console.review_forms import FIELDS_MAX
from amends_orchestrator.core.inputs import (
    CancelRequested,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    SuspendRequested,
)

FORM_BYTES_MAX: Final = 256 * 1024
FORM_FIELDS_MAX: Final = FIELDS_MAX + 5
"""Those of an edit, and what comes with them."""
FORM_TYPE: Final = "application/x-www-form-urlencoded"
Form = TypeVar("Form", bound=ReasonIn)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, empty ones left out."""
    if media_type(request) != FORM_TYPE:
        raise ApiProblem(ProblemType.BAD_REQUEST, f"Send {FORM_TYPE}.", status=415)
    body = await read_bounded(request, FORM_BYTES_MAX)
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=FORM_FIELDS_MAX, errors="strict")
    except ValueError:
        raise ApiProblem(ProblemType.BAD_REQUEST, "The form is garbled.", status=400) from None
    return {name: value.replace("\0", "").strip() for name, value in pairs}


def _checked(model: type[Form], fields: Mapping[str, Any]) -> Form:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise bad_field("/" + "/".join(map(str, first["loc"])), str(first["msg"])) from None


def _resolve(fields: dict[str, Any], by: str) -> ResolveRequested:
    try:
        output = strict_json(fields["output"].encode()) if "output" in fields else None
    except ValueError as error:
        raise bad_field("/output", f"not JSON: {error}") from None
    form = _checked(ResolveIn, {**fields, "output": output})
    return ResolveRequested(
        path=StepPath(form.step),
        outcome=Outcome(form.outcome),
        reason=form.reason,
        by=by,
        output=form.output,
    )


def change_of(action: str, fields: dict[str, Any], by: str) -> Change | None:
    """The change a form asks for; None for an action that is none. Raises ApiProblem."""
    match action:
        case "cancel":
            return CancelRequested(reason=_checked(ReasonIn, fields).reason, by=by)
        case "suspend":
            return SuspendRequested(reason=_checked(ReasonIn, fields).reason, by=by)
        case "resume":
            return ResumeRequested(reason=_checked(ReasonIn, fields).reason, by=by)
        case "retry":
            form = _checked(RetryIn, fields)
            return RetryRequested(path=StepPath(form.step), reason=form.reason, by=by)
        case "skip":
            skip = _checked(SkipIn, fields)
            return SkipRequested(
                path=StepPath(skip.step),
                reason=skip.reason,
                by=by,
                owner=skip.owner,
                evidence=skip.evidence,
            )
        case "resolve":
            return _resolve(fields, by)
        case _:
            return None
