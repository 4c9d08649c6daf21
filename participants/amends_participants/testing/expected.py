"""What a test expects of a reply, and how it says that something else came."""

from dataclasses import dataclass
from typing import Any

from amends_contracts.messages import Json, Outcome, ProbeEffect, Reply

ANY: Any = object()
"""Not compared."""


@dataclass(frozen=True)
class Expected:
    """A reply's outcome, and its output or problem type."""

    outcome: Outcome
    output: Json = ANY
    problem: str | None = None
    retryable: bool | None = None

    def mismatch(self, reply: Reply) -> str | None:
        """None if the reply is as expected, else what it is."""
        same = (
            reply.outcome is self.outcome
            and (self.output is ANY or reply.json() == self.output)
            and (self.problem is None or reply.problem().type == self.problem)
            and (self.retryable is None or reply.retryable is self.retryable)
        )
        return None if same else said(reply)

    def __str__(self) -> str:
        detail = "" if self.output is ANY else f" {self.output}"
        problem = "" if self.problem is None else f" {self.problem}"
        return f"{self.outcome}{problem}{detail}"


def said(reply: Reply) -> str:
    """A reply in one line."""
    if reply.outcome is Outcome.SUCCEEDED:
        return f"{reply.outcome} {reply.json()}"
    problem = reply.problem()
    detail = f": {problem.detail or problem.title}" if problem.detail or problem.title else ""
    return f"{reply.outcome} {problem.type}{detail}{' (retryable)' if reply.retryable else ''}"


def succeeded(**output: Json) -> Expected:
    """`succeeded`, with exactly this output if any is given."""
    return Expected(Outcome.SUCCEEDED, output or ANY)


def failed(problem: str | None = None, *, retryable: bool | None = None) -> Expected:
    """`failed`, of this problem type."""
    return Expected(Outcome.FAILED, problem=problem, retryable=retryable)


def unknown(problem: str | None = None) -> Expected:
    """`unknown`, of this problem type."""
    return Expected(Outcome.UNKNOWN, problem=problem)


def fenced() -> Expected:
    """The compensation was there first."""
    return Expected(Outcome.FENCED)


def present(**output: Json) -> Expected:
    """Of a probe: the effect is there, with this output."""
    found: dict[str, Json] = {"effect": ProbeEffect.PRESENT.value, "output": output}
    return Expected(Outcome.SUCCEEDED, found)


def absent() -> Expected:
    """Of a probe: there is no effect, nor will these attempts bring one."""
    return Expected(Outcome.SUCCEEDED, {"effect": ProbeEffect.ABSENT.value})


def undone() -> Expected:
    """Of a probe: the effect was taken back."""
    return Expected(Outcome.SUCCEEDED, {"effect": ProbeEffect.UNDONE.value})
