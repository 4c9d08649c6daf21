"""Steps of kind `llm` and `tool` as what they come to: commands of a participant.

A model call is a command of the service `llm`, a tool one of the service it belongs to. Nothing
else in the core knows of either but by what stands here.
"""

from typing import Final

from amends_contracts.definition import Action, Budget, Llm, Schema, Tool
from amends_contracts.expressions import Literal, Record, Template, parse_template
from amends_contracts.messages import Json
from amends_contracts.names import tool_command
from amends_orchestrator.core.metering import Amount, nanousd

ANSWER: Final[Schema] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
"""What a model call without a schema of its own gives."""


def question(step: Llm) -> Template:
    """The body of the command: the prompt is a template, all else stands there as it is."""
    fixed: dict[str, Json] = {
        "models": list(step.models),
        "settings": step.settings,
        "max_reasks": step.max_reasks,
        "output": step.output,
        "limits": None if step.limits is None else step.limits.model_dump(exclude_none=True),
        "prices": {name: price.model_dump() for name, price in step.prices.items()},
    }
    asked = [("prompt", parse_template(step.prompt))]
    if step.system is not None:
        asked.append(("system", parse_template(step.system)))
    given: list[tuple[str, Template]] = [
        (name, Literal(value)) for name, value in fixed.items() if value not in (None, {})
    ]
    return Record((*asked, *given))


def most_used(step: Llm) -> Amount:
    """The most that one attempt may use: that is reserved before it is dispatched."""
    limits = step.limits
    return Amount(
        calls=calls_max(step),
        tokens=(limits and limits.tokens) or 0,
        nanousd=nanousd((limits and limits.usd) or 0),
    )


def calls_max(step: Llm) -> int:
    """Each model but the last may fail to answer, and the one that answers is asked again."""
    return len(step.models) + step.max_reasks


def as_action(step: Tool) -> Action:
    """The action that a tool step is."""
    members = {name: getattr(step, name) for name in type(step).model_fields}
    del members["kind"], members["tool"]
    return Action.model_construct(command=tool_command(step.tool), **members)


def is_metered(budget: Budget | None) -> bool:
    """Whether a budget limits model calls, beside time."""
    return budget is not None and (budget.usd, budget.tokens, budget.calls) != (None, None, None)
