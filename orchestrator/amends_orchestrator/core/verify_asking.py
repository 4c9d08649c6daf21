"""The verifier's rules for model calls, their limits and the budget they run under."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from amends_contracts import definition as document
from amends_contracts.definition import Definition
from amends_contracts.problems import FieldError
from amends_orchestrator.core.asking import calls_max
from amends_orchestrator.core.verify_schemas import malformed, types_of

REASKS_MAX: Final = 10
MODELS_MAX: Final = 10
SETTINGS: Final = frozenset(
    {
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop_sequences",
        "presence_penalty",
        "frequency_penalty",
        "thinking",
    }
)
"""What a definition may set. Addresses, headers and keys are the participant's alone."""


def _error(path: str, reason: str, remedy: str) -> FieldError:
    return FieldError(path=path, reason=reason, remedy=remedy)


def check_budget(definition: Definition) -> Iterator[FieldError]:
    """What a budget may say."""
    budget = definition.budget
    if budget is None:
        return
    unkept = {
        "turns": budget.turns,
        "undo_usd": budget.undo_usd,
        "held_usd": budget.held_usd,
        "held_count": budget.held_count,
        "on_exhausted": None if budget.on_exhausted == "compensate" else budget.on_exhausted,
    }
    for name, value in unkept.items():
        if value is not None:
            reason = "it cannot be kept by this version"
            remedy = "leave it out: `usd`, `tokens`, `calls` and `wall` can be kept"
            yield _error(f"/budget/{name}", reason, remedy)
    if budget.wall is not None and budget.wall <= timedelta(0):
        yield _error("/budget/wall", "it would be over at once", "give it more than PT0S")


def check_llm(
    step: document.Llm, at: str, budget: document.Budget | None, *, after_pivot: bool
) -> Iterator[FieldError]:
    """One model call."""
    if after_pivot:
        reason = "a model may fail for good, and it stands after the pivot: nobody could undo"
        yield _error(f"{at}/kind", reason, "move it before the pivot")
    if step.timeout <= timedelta(0):
        yield _error(f"{at}/timeout", "every attempt would expire at once", "give it more")
    if step.retry.max_attempts is None and step.retry.initial <= timedelta(0):
        reason = "it would be tried for ever without a pause"
        yield _error(f"{at}/retry", reason, "set `initial`")
    if len(step.models) > MODELS_MAX:
        yield _error(f"{at}/models", f"more than {MODELS_MAX} models", "name fewer")
    if step.max_reasks > REASKS_MAX:
        reason = f"a model is asked again at most {REASKS_MAX} times"
        yield _error(f"{at}/max_reasks", reason, "give it less")
    for name in step.settings:
        if name not in SETTINGS:
            remedy = f"known are: {', '.join(sorted(SETTINGS))}"
            yield _error(f"{at}/settings/{name}", "no such setting can be given here", remedy)
    for name in step.prices:
        if name not in step.models:
            remedy = f"name one of: {', '.join(step.models)}"
            yield _error(f"{at}/prices/{name}", "the step does not ask this model", remedy)
    yield from _output(step, at)
    yield from _limits(step, at, budget or document.Budget())


def _output(step: document.Llm, at: str) -> Iterator[FieldError]:
    if step.output is None:
        return
    yield from malformed(step.output, f"{at}/output")
    if types_of(step.output) != {"object"}:
        reason = "an output is an object, and the schema does not say so"
        yield _error(f"{at}/output", reason, "write {type: object, properties: …}")


def _limits(step: document.Llm, at: str, budget: document.Budget) -> Iterator[FieldError]:
    limits = step.limits or document.Limits()
    for name in ("turns", "calls", "wall"):
        if getattr(limits, name) is not None:
            remedy = "a model call has `tokens` and `usd`"
            yield _error(f"{at}/limits/{name}", "it limits a loop, and this is none", remedy)
    for name in ("tokens", "usd"):
        most, whole = getattr(limits, name), getattr(budget, name)
        if whole is not None and most is None:
            reason = f"the budget limits `{name}`, and what this call may use is not said"
            yield _error(f"{at}/limits", reason, f"give it `limits: {{{name}: …}}`")
        elif whole is not None and most > whole:
            reason = f"it may use {most}, and the whole budget is {whole}"
            yield _error(f"{at}/limits/{name}", reason, "give it less, or the budget more")
    if budget.calls is not None and calls_max(step) > budget.calls:
        reason = f"it may take {calls_max(step)} calls, and the whole budget is {budget.calls}"
        remedy = "name fewer models, lower `max_reasks`, or give the budget more"
        yield _error(f"{at}/max_reasks", reason, remedy)
