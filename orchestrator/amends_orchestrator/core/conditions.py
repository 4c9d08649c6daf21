"""Conditions of a definition: `when`, the cases of a choice, `until`."""

from amends_contracts.messages import Json
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core.expressions import CompiledTemplate, ExpressionError
from amends_orchestrator.core.work import Work


def condition(
    work: Work,
    template: CompiledTemplate,
    what: str,
    path: str,
    action: tuple[Json, Json] | None = None,
    *,
    prefix: str | None = None,
) -> bool | Problem:
    """Whether it holds (null does not), or why that cannot be said."""
    value = work.evaluate(template, path, action, prefix=prefix)
    if isinstance(value, bool) or value is None:
        return bool(value)
    if isinstance(value, ExpressionError):
        title = f"{what} could not be evaluated"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=value.text)
    title = f"{what} must be true or false, not {type(value).__name__}"
    return Problem(type=ProblemType.BAD_EXPRESSION, title=title)
