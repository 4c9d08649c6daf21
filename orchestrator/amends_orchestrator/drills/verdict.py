"""PASS, FAIL or INCONCLUSIVE, from everything that is known of one cell. Pure.

Every finding says what is wrong in words of the user's own system, and what to do about it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from amends_contracts.names import StepPath
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import TERMINAL, Plan, Saga, SagaStatus, StepStatus
from amends_orchestrator.core.checker import Violation
from amends_orchestrator.drills.matrix import KINDS, Cell
from amends_orchestrator.drills.oracle import Foreseen
from amends_orchestrator.drills.results import Finding, Verdict

GONE: Final = frozenset({"undone"})
"""What a ledger says of an effect that is there no more."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What an invariant came to; `broken` and `failed` are sentences, or empty."""

    name: str
    broken: str = ""
    failed: str = ""
    """It could not be asked: it raised, or did not end."""
    before: bool = False
    """It was broken before the cell began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one cell when all is quiet."""

    cell: Cell
    plan: Plan
    foreseen: Foreseen | None = None
    saga: Saga | None = None
    violations: Sequence[Violation] = ()
    ledger: Mapping[StepPath, str] = field(default_factory=dict[StepPath, str])
    """What participants hold when the saga has ended."""
    ledger_after: Mapping[StepPath, str] = field(default_factory=dict[StepPath, str])
    """And after its late undo, or the same."""
    undo: Saga | None = None
    """The saga that undid a completed one."""
    undo_refused: str = ""
    silent: frozenset[str] = frozenset()
    """Services that keep no ledger."""
    late: frozenset[StepPath] = frozenset()
    """Actions that were said to have succeeded after their undo was acknowledged."""
    twice: frozenset[StepPath] = frozenset()
    """Actions that were answered with two different outputs."""
    slow: frozenset[StepPath] = frozenset()
    """Steps that timed out where the drill did nothing to make them."""
    invariants: Sequence[Checked] = ()
    refused: str = ""
    """A participant refused the drill."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of a cell."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    why: str = ""


def judge(facts: Facts) -> Judged:
    """What is wrong comes first; then what could not be told; else it passes."""
    if facts.refused:
        return Judged(Verdict.INCONCLUSIVE, why=facts.refused)
    findings = tuple(_unique(_findings(facts)))
    if findings:
        return Judged(Verdict.FAIL, findings)
    why = "; ".join(_open_questions(facts))
    return Judged(Verdict.INCONCLUSIVE if why else Verdict.PASS, why=why)


def _findings(facts: Facts) -> Iterator[Finding]:
    yield from _answers(facts)
    yield from _end(facts)
    yield from _effects(facts)
    yield from _undo(facts)
    yield from _promises(facts)
    yield from _invariants(facts)


def _answers(facts: Facts) -> Iterator[Finding]:
    for path in sorted(facts.late):
        yield Finding(
            f"{_service(facts, path)} did {path} after it had acknowledged its undo",
            "an undo that finds nothing leaves a tombstone under the action's key, durable and in"
            " the same transaction; an action that finds one answers `fenced` and does nothing",
            path,
        )
    for path in sorted(facts.twice):
        yield Finding(
            f"{_service(facts, path)} answered {path} twice with different outputs: it was done"
            " twice",
            "keep one row per `amends-key`, written with the effect; answer a repetition from it",
            path,
        )


def _end(facts: Facts) -> Iterator[Finding]:
    saga, foreseen = facts.saga, facts.foreseen
    if saga is None:
        yield Finding("the saga was not started", "see the orchestrator's log")
        return
    if saga.status not in TERMINAL:
        yield from _stuck(saga)
    elif foreseen is not None and foreseen.status is not saga.status and not facts.slow:
        yield Finding(
            f"the saga is {saga.status}; with participants that keep their promises it is"
            f" {foreseen.status}",
            f"look in the history for the first answer to {facts.cell.step or 'a step'} that"
            " docs/wire.md does not allow",
        )


def _stuck(saga: Saga) -> Iterator[Finding]:
    named = False
    for path, step in saga.state.steps.items():
        if not (step.is_open or step.status is StepStatus.COMPENSATION_FAILED):
            continue
        named = True
        said = f" ({step.problem})" if step.problem else ""
        yield Finding(
            f"the saga is {saga.status} and does not end: {path} is {step.status}{said}",
            _REMEDY.get(step.problem or "", _REMEDY_OPEN),
            path,
        )
    if not named:
        yield Finding(f"the saga is {saga.status} and does not end", _REMEDY_OPEN)


_REMEDY_OPEN: Final = (
    "the participant did not answer, or answered `failed` for good to an undo: an undo is tried"
    " until it succeeds, so let it fail with `amends-retryable`, and be done in the end"
)
_REMEDY: Final[Mapping[str, str]] = {
    ProblemType.FORGOTTEN: "the participant no longer knows an action that it has done: keep its"
    " row in a database, until `forget`",
    ProblemType.KEY_REUSED: "the participant says that a key came with another body: store the"
    " digest of the action's first delivery, compare `amends-digest` with it as a string",
    ProblemType.DEAD_LETTERED: "the participant rejected the message, or died of it 20 times: see"
    " its log",
}


def _effects(facts: Facts) -> Iterator[Finding]:
    """What the participants' own ledgers say, when the saga has ended."""
    saga, foreseen = facts.saga, facts.foreseen
    if saga is None or saga.status not in TERMINAL:
        return
    for path, effect in sorted(facts.ledger.items()):
        node = facts.plan.action_of(path)
        if node is None or effect in GONE:
            continue
        may_stay = saga.status is SagaStatus.COMPLETED or (
            foreseen is not None and path in foreseen.held
        )
        if not may_stay:
            yield Finding(
                f"{path} is still held at {node.service}: the saga is {saga.status}",
                _undo_fix(facts, path),
                path,
            )


def _undo(facts: Facts) -> Iterator[Finding]:
    """The late undo of what completed."""
    if facts.undo_refused:
        yield Finding(
            f"a completed saga could not be undone: {facts.undo_refused}",
            "give its steps an undo window (`compensable_for`) longer than a drill",
        )
    if facts.undo is None:
        return
    if facts.undo.status not in TERMINAL:
        yield from _stuck(facts.undo)
    for path, effect in sorted(facts.ledger_after.items()):
        node = facts.plan.action_of(path)
        if node is not None and node.undo is not None and effect not in GONE:
            yield Finding(
                f"{path} is still held at {node.service} after it was undone",
                _undo_fix(facts, path),
                path,
            )


def _promises(facts: Facts) -> Iterator[Finding]:
    for violation in facts.violations:
        where = f"{violation.step} " if violation.step else ""
        remedy = _BY_PROMISE.get(violation.promise, _BY_PROMISE[9])
        yield Finding(
            f"promise {violation.promise}: {where}{violation.text}", remedy, violation.step
        )


_BY_PROMISE: Final[Mapping[int, str]] = {
    1: "answer `succeeded` only when the effect is committed, and once for each `amends-key`",
    2: "`failed` means that nothing changed: roll back first, or answer `unknown`",
    3: "an undo takes back exactly the effect of `amends-compensates`, once",
    4: "an undo that finds nothing leaves a durable tombstone under the action's key",
    5: "undo what is asked for when it is asked for: the plan knows the order",
    9: "this is a fault of the orchestrator: report it with this history",
}


def _invariants(facts: Facts) -> Iterator[Finding]:
    undone = sorted(_undone(facts))
    whose = ", ".join(undone)
    for checked in facts.invariants:
        if checked.broken and not checked.before:
            yield Finding(
                f"invariant '{checked.name}' is broken: {checked.broken}",
                f"something that {whose} did is not wholly taken back, or was done twice: compare"
                f" what the action and its undo write, also when they are called again"
                if undone
                else "nothing was to be undone here: an effect was made that the saga does not"
                " know of",
            )


def _open_questions(facts: Facts) -> Iterator[str]:
    foreseen = facts.foreseen
    if facts.slow and facts.saga and foreseen and foreseen.status is not facts.saga.status:
        slow = ", ".join(f"{_service(facts, path)} at {path}" for path in sorted(facts.slow))
        yield f"{slow} did not answer in time, and nothing was wrong with it: give more --timeout-s"
    for checked in facts.invariants:
        if checked.failed:
            yield f"invariant '{checked.name}' could not be asked: {checked.failed}"
        elif checked.broken and checked.before:
            yield f"invariant '{checked.name}' was broken before this cell began: {checked.broken}"
    if facts.invariants:
        return
    for path in sorted(_undone(facts)):
        service = _service(facts, path)
        if service in facts.silent:
            yield (
                f"{service} answers no `ledger` and no invariant is given: nothing can tell"
                f" whether {path} is really undone"
            )


def _undone(facts: Facts) -> frozenset[StepPath]:
    """The steps whose compensation is said to have succeeded."""
    found: set[StepPath] = set()
    for saga in (facts.saga, facts.undo):
        if saga is not None:
            found |= {
                path
                for path, step in saga.state.steps.items()
                if step.status is StepStatus.COMPENSATED
            }
    return frozenset(found)


def _undo_fix(facts: Facts, path: StepPath) -> str:
    node = facts.plan.action_of(path)
    name = node.undo.command if node is not None and node.undo is not None else path
    return (
        f"the undo of {name} answered `succeeded` without taking the effect back: see its handler"
    )


def _service(facts: Facts, path: StepPath) -> str:
    node = facts.plan.action_of(path)
    return "somebody" if node is None else node.service


def _unique(findings: Iterator[Finding]) -> Iterator[Finding]:
    seen: set[tuple[str, StepPath | None]] = set()
    for finding in findings:
        if (finding.what, finding.step) not in seen:
            seen.add((finding.what, finding.step))
            yield finding


def title(cell: Cell) -> str:
    """A cell as a sentence."""
    said = KINDS[cell.fault].title
    return f"{cell.step}: {said}" if cell.step else said
