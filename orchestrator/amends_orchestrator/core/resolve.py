"""Making a definition explicit: effect, reversal, compensation and probe from what `hello` says.

Done once, at registration, so that a saga's plan depends on its stored document alone and never
on which participants happen to be alive.
"""

from collections.abc import Mapping

from amends_contracts.definition import (
    Action,
    Alternatives,
    Case,
    Choice,
    Compensation,
    Definition,
    Each,
    Parallel,
    Repeat,
    Step,
    Steps,
    Tool,
)
from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_orchestrator.core.asking import as_action

Commands = Mapping[str, CommandInfo]


def resolve(definition: Definition, commands: Commands) -> Definition:
    """The same definition with nothing left to be looked up."""
    return definition.model_copy(update={"steps": _steps(definition.steps, commands)})


def _steps(steps: Steps, commands: Commands) -> Steps:
    return tuple(_step(step, commands) for step in steps)


def _step(step: Step, commands: Commands) -> Step:
    match step:
        case Action():
            return step.model_copy(update=_resolved(step, commands))
        case Tool():
            return step.model_copy(update=_resolved(as_action(step), commands))
        case Parallel():
            branches = {name: _steps(body, commands) for name, body in step.branches.items()}
            return step.model_copy(update={"branches": branches})
        case Choice():
            cases = tuple(
                Case(when=case.when, steps=_steps(case.steps, commands)) for case in step.cases
            )
            otherwise = _steps(step.otherwise, commands)
            return step.model_copy(update={"cases": cases, "otherwise": otherwise})
        case Each() | Repeat():
            return step.model_copy(update={"steps": _steps(step.steps, commands)})
        case Alternatives():
            plans = tuple(
                plan.model_copy(update={"steps": _steps(plan.steps, commands)})
                for plan in step.plans
            )
            return step.model_copy(update={"plans": plans})
        case _:
            return step


def reversal_of(step: Action, info: CommandInfo | None) -> Reversal | None:
    """What the step says, else what its compensation means, else what the participant says."""
    if step.reversal is not None:
        return step.reversal
    if step.compensation is not None:
        return Reversal.COMPENSATABLE
    return None if info is None else info.reversal


def effect_of(step: Action, info: CommandInfo | None) -> Effect:
    """What the step says, else the participant; a plain one is taken to be `keyed`."""
    if step.effect is not None:
        return step.effect
    return Effect.KEYED if info is None else info.effect


def probe_of(step: Action, info: CommandInfo | None) -> bool:
    """Whether the action can be probed."""
    if step.probe is not None:
        return step.probe
    return info is not None and info.probe


def compensation_of(step: Action, info: CommandInfo | None) -> Compensation | None:
    """How it is taken back, with the command named; None unless it is compensatable."""
    if reversal_of(step, info) is not Reversal.COMPENSATABLE:
        return None
    said = step.compensation or Compensation()
    declared = None if info is None else info.compensation
    command = said.command or declared or step.command
    return said.model_copy(update={"command": command})


def _resolved(step: Action, commands: Commands) -> dict[str, object]:
    info = commands.get(step.command)
    return {
        "effect": effect_of(step, info),
        "reversal": reversal_of(step, info),
        "probe": probe_of(step, info),
        "compensation": compensation_of(step, info),
    }
