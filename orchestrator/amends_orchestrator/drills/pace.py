"""A definition in a hurry: the same plan with the short times of a drill. Pure.

A drill waits for its timeouts on purpose. Hours and minutes become a second; how often something
is tried, and in which order, stays as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from amends_contracts.definition import Definition, Retry, Step

_BODIES = ("steps", "otherwise")


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a drill."""

    timeout: timedelta = timedelta(seconds=0.5)
    """The longest that one attempt is waited for."""
    backoff: timedelta = timedelta(milliseconds=40)
    probes: bool = True
    decided: bool = True
    """Reviews are decided, and may take as long as they do; else they expire soon."""

    @property
    def timeout_s(self) -> float:
        """In seconds."""
        return self.timeout.total_seconds()


def hurried(
    definition: Definition, pace: Pace, *, probes: bool = True, decided: bool = True
) -> Definition:
    """The definition with times of at most these.

    Without `probes` nobody looks when in doubt; unless `decided`, reviews expire as soon.
    """
    pace = replace(pace, probes=pace.probes and probes, decided=pace.decided and decided)
    return definition.model_copy(
        update={
            "interrupt_after": min(definition.interrupt_after, pace.timeout),
            "steps": _steps(definition.steps, pace),
        }
    )


def _steps(steps: Iterable[Step], pace: Pace) -> tuple[Any, ...]:
    return tuple(_step(step, pace) for step in steps)


def _step(step: Any, pace: Pace) -> Any:
    """One step with all that it holds. What a kind does not have is not asked of it."""
    changed: dict[str, Any] = {}
    if getattr(step, "timeout", None) is not None:
        changed["timeout"] = min(step.timeout, pace.timeout)
    if isinstance(getattr(step, "retry", None), Retry):
        changed["retry"] = _retry(step.retry, pace)
    if getattr(step, "compensation", None) is not None:
        undo = step.compensation
        short = {"retry": _retry(undo.retry, pace), "timeout": min(undo.timeout, pace.timeout)}
        changed["compensation"] = undo.model_copy(update=short)
    if not pace.probes and getattr(step, "probe", None):
        changed["probe"] = False
    if not pace.decided:
        changed |= _undecided(step, pace)
    if step.kind == "wait" and step.for_ is not None:
        changed["for_"] = min(step.for_, pace.timeout)
    changed |= {name: _steps(getattr(step, name), pace) for name in _BODIES if hasattr(step, name)}
    if step.kind == "parallel":
        changed["branches"] = {name: _steps(b, pace) for name, b in step.branches.items()}
    for name in ("cases", "plans"):
        if hasattr(step, name):
            changed[name] = tuple(
                part.model_copy(update={"steps": _steps(part.steps, pace)})
                for part in getattr(step, name)
            )
    return step.model_copy(update=changed)


def _undecided(step: Any, pace: Pace) -> dict[str, Any]:
    """A review, or the guard of an action, for which nobody has time."""
    if step.kind == "review" and step.expires is not None:
        return {"expires": min(step.expires, pace.timeout)}
    guard = getattr(step, "review", None)
    if guard is not None and guard.expires is not None:
        short = {"expires": min(guard.expires, pace.timeout)}
        return {"review": guard.model_copy(update=short)}
    return {}


def _retry(retry: Retry, pace: Pace) -> Retry:
    short = {"initial": min(retry.initial, pace.backoff), "max": min(retry.max, pace.backoff)}
    return retry.model_copy(update=short)
