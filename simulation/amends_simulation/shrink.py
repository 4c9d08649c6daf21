"""From a failing schedule to the shortest that fails alike: faults, sagas and steps are left out.

Greedy: whatever can be left out is left out, until nothing can. "Alike" is the same promise.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

from amends_contracts.definition import Definition
from amends_contracts.messages import Json
from amends_orchestrator.core import verify
from amends_orchestrator.core.undo_debt import steps_in
from amends_simulation.run import EXPRESSIONS, Outcome, run
from amends_simulation.schedule import Schedule

RUNS_MAX = 400


def shrink(outcome: Outcome, runs_max: int = RUNS_MAX) -> Outcome:
    """The shortest outcome found that breaks the same promise."""
    promises = {violation.promise for violation in outcome.violations}
    assert promises, "nothing to make shorter"
    runs = 0
    found = True
    while found and runs < runs_max:
        found = False
        for smaller in _smaller(outcome.schedule):
            runs += 1
            tried = run(smaller)
            if promises & {violation.promise for violation in tried.violations}:
                outcome, found = tried, True
                break
            if runs >= runs_max:
                break
    return outcome


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    """The schedule with one thing less, the biggest things first."""
    for n in range(len(schedule.sagas)):
        if len(schedule.sagas) > 1:
            yield replace(schedule, sagas=_left_out(schedule.sagas, n))
    for n in range(len(schedule.faults)):
        yield replace(schedule, faults=_left_out(schedule.faults, n))
    for change in _PLAIN:
        plainer = change(schedule)
        if plainer != schedule:
            yield plainer
    named = {saga.definition for saga in schedule.sagas} | _children(schedule.documents)
    needed = tuple(one for one in schedule.documents if one["name"] in named)
    if needed != schedule.documents:
        yield replace(schedule, documents=needed)
    for n, document in enumerate(schedule.documents):
        for steps in _fewer(document["steps"]):
            documents = list(schedule.documents)
            documents[n] = {**document, "steps": steps}
            if steps and _is_whole(documents[n]):
                yield replace(schedule, documents=tuple(documents))


_PLAIN: tuple[Callable[[Schedule], Schedule], ...] = (
    lambda schedule: replace(schedule, orchestrators=1),
    lambda schedule: replace(schedule, instances=1),
    lambda schedule: replace(schedule, partitions=1),
    lambda schedule: replace(schedule, groups=False),
    lambda schedule: replace(schedule, echo=False),
)


def _children(documents: tuple[Json, ...]) -> set[str]:
    steps = (step for document in documents for step in steps_in(document))
    return {step["definition"] for step in steps if step["kind"] == "saga"}


def _left_out(items: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    return items[:n] + items[n + 1 :]


def _fewer(steps: list[Json]) -> Iterator[list[Json]]:
    """The steps with one less, at any depth; a block may give way to one of its bodies."""
    for n, step in enumerate(steps):
        before, after = steps[:n], steps[n + 1 :]
        yield [*before, *after]
        for body in _bodies(step):
            yield [*before, *body, *after]
            for fewer in _fewer(body):
                yield [*before, _with(step, body, fewer), *after]


def _bodies(step: Json) -> list[list[Json]]:
    match step["kind"]:
        case "parallel":
            return list(step["branches"].values())
        case "choice":
            return [*(case["steps"] for case in step["cases"]), step["otherwise"]]
        case "each" | "repeat":
            return [step["steps"]]
        case "alternatives":
            return [plan["steps"] for plan in step["plans"]]
        case _:
            return []


def _with(step: Json, body: list[Json], fewer: list[Json]) -> Json:
    """The step with another body in its place."""

    def put(value: Json) -> Json:
        if value is body:
            return fewer
        if isinstance(value, dict):
            members = cast("dict[str, Json]", value)
            return {name: put(member) for name, member in members.items()}
        if isinstance(value, list):
            return [put(item) for item in cast("list[Json]", value)]
        return value

    return put(step)


def _is_whole(document: Json) -> bool:
    """Whether it could be registered: what is referred to is there, and no body is empty."""
    return not verify(Definition.model_validate(document), {}, EXPRESSIONS)
