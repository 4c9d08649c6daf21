"""Deliberate bugs of the core: order, attempts, doubts, time, the end."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from amends_orchestrator.core.journal import StepLeft
from amends_orchestrator.core.outcomes import expire_action, fail
from amends_orchestrator.core.state import Doing, StepStatus
from amends_simulation.mutants.table import Patch, answers, mutant, real

COMPENSATION: Final = "amends_orchestrator.core.compensation"
DECIDE: Final = "amends_orchestrator.core.decide"
FORWARD: Final = "amends_orchestrator.core.forward"
LOOPS: Final = "amends_orchestrator.core.loops"
OPERATOR: Final = "amends_orchestrator.core.operator"
OUTCOMES: Final = "amends_orchestrator.core.outcomes"
REPLIES: Final = "amends_orchestrator.core.replies"
SCOPE: Final = "amends_orchestrator.core.scope:Scope"
SAVEPOINTS: Final = "amends_orchestrator.core.savepoints"
CORE_WORK: Final = "amends_orchestrator.core.work"


@mutant
def wrong_order() -> Sequence[Patch]:
    """Compensation begins with what the plan did first."""
    visit = real(COMPENSATION, "_visit")

    def sequence(work: Any, nodes: Any, prefix: str) -> bool:
        return all(visit(work, node, prefix) for node in nodes)

    return _undoing(sequence)


@mutant
def all_at_once() -> Sequence[Patch]:
    """Compensation does not wait for what comes later in the plan."""
    visit = real(COMPENSATION, "_visit")

    def sequence(work: Any, nodes: Any, prefix: str) -> bool:
        done = [visit(work, node, prefix) for node in reversed(nodes)]
        return all(done)

    return _undoing(sequence)


def _undoing(sequence: Any) -> Sequence[Patch]:
    """Sequences are undone so, of the saga and of a failed plan."""
    return [(COMPENSATION, "undo_sequence", sequence), (FORWARD, "undo_sequence", sequence)]


@mutant
def loops_undone_from_their_beginning() -> Sequence[Patch]:
    """The first item, or iteration, is undone first."""
    original = real(LOOPS, "_undo_frames")

    def undo(work: Any, body: Any, path: Any, prefixes: Any, *rest: Any, **how: Any) -> bool:
        return original(work, body, path, list(reversed(prefixes)), *rest, **how)

    return [(LOOPS, "_undo_frames", undo)]


@mutant
def loops_undone_at_once() -> Sequence[Patch]:
    """Iterations are undone freely of each other."""
    original = real(LOOPS, "_undo_frames")

    def undo(*all_of_it: Any, **_: bool) -> bool:
        return original(*all_of_it, freely=True)

    return [(LOOPS, "_undo_frames", undo)]


@mutant
def last_item_forgotten() -> Sequence[Patch]:
    """Of an each the last item is not undone."""
    original = real(LOOPS, "_undo_frames")

    def undo(work: Any, body: Any, path: Any, prefixes: Any, *rest: Any, **how: Any) -> bool:
        left = prefixes[1:] if prefixes[0].endswith("].") else prefixes
        return not left or original(work, body, path, left, *rest, **how)

    return [(LOOPS, "_undo_frames", undo)]


@mutant
def all_items_at_once() -> Sequence[Patch]:
    """An each begins with all its items, however many it allows at once."""
    original = real(LOOPS, "go_each")

    def go_each(work: Any, node: Any, *rest: Any) -> bool:
        return original(work, replace(node, concurrency=1000), *rest)

    return [(FORWARD, "go_each", go_each)]


@mutant
def one_iteration_more() -> Sequence[Patch]:
    """A repeat goes through its body once more than it may."""
    original = real(LOOPS, "go_repeat")

    def go_repeat(work: Any, node: Any, *rest: Any) -> bool:
        return original(work, replace(node, max=node.max + 1), *rest)

    return [(FORWARD, "go_repeat", go_repeat)]


@mutant
def next_plan_at_once() -> Sequence[Patch]:
    """The next plan begins while the failed one is still being undone."""
    original = real(SAVEPOINTS, "go_alternatives")

    def go(work: Any, node: Any, path: Any, prefix: str, walk: Any, undo: Any) -> bool:
        def at_once(*arguments: Any) -> bool:
            undo(*arguments)
            return True

        return original(work, node, path, prefix, walk, at_once)

    return [(FORWARD, "go_alternatives", go)]


@mutant
def failed_plan_left() -> Sequence[Patch]:
    """A plan that failed is not undone."""
    original = real(SAVEPOINTS, "go_alternatives")

    def go(work: Any, node: Any, path: Any, prefix: str, walk: Any, _: Any) -> bool:
        return original(work, node, path, prefix, walk, answers(True))

    return [(FORWARD, "go_alternatives", go)]


@mutant
def failed_plan_goes_on() -> Sequence[Patch]:
    """In a plan that has failed further attempts begin."""

    def onward(work: Any, _: Any) -> Any:
        return work.forward

    return [(CORE_WORK + ":Work", "onward", onward)]


@mutant
def last_item_for_all() -> Sequence[Patch]:
    """Outside an each its steps have the output of the last item, and not a list."""
    original = real(SCOPE, "_outputs")

    def outputs(self: Any, seqs: Any) -> Any:
        return original(self, seqs[-1] if isinstance(seqs, list) and seqs else seqs)

    return [(SCOPE, "_outputs", outputs)]


@mutant
def impatient_wait() -> Sequence[Patch]:
    """Nobody waits for anything."""

    def go_wait(work: Any, path: Any) -> bool:
        work.emit(StepLeft(path=path))
        return True

    return [(FORWARD, "go_wait", go_wait)]


@mutant
def attempt_restarted() -> Sequence[Patch]:
    """Every attempt is called the first."""
    original = real(FORWARD, "dispatch")

    def dispatch(work: Any, node: Any, path: Any) -> None:
        step = work.draft.steps.get(path)
        if step is not None:
            work.draft.steps[path] = step._replace(action=step.action._replace(attempt=0))
        original(work, node, path)

    return [(FORWARD, "dispatch", dispatch)]


@mutant
def attempts_not_counted() -> Sequence[Patch]:
    """A policy of so many attempts is not kept."""
    return [(OUTCOMES, "attempts_left", answers(True))]


@mutant
def terminal_goes_on() -> Sequence[Patch]:
    """A saga that has ended still decides."""
    return [(DECIDE, "TERMINAL", frozenset[str]())]


@mutant
def doubt_is_failure() -> Sequence[Patch]:
    """A timeout is taken for proof that nothing happened."""

    def doubt(work: Any, node: Any, path: Any, problem: Any, **_: Any) -> None:
        fail(work, node, path, problem)

    return [(OUTCOMES, "doubt", doubt), (REPLIES, "doubt", doubt)]


@mutant
def exhausted_doubt_is_failure() -> Sequence[Patch]:
    """A doubt that outlives its attempts is taken for a failure."""

    def settle(work: Any, node: Any, path: Any, problem: Any) -> None:
        fail(work, node, path, problem, via="engine")

    return [(OUTCOMES, "settle_unknown", settle)]


@mutant
def unknown_not_compensated() -> Sequence[Patch]:
    """A step whose outcome is unknown is not undone."""
    original = real(COMPENSATION, "is_undone")

    def is_undone(step: Any) -> bool:
        return step.status is StepStatus.UNKNOWN or original(step)

    return [(COMPENSATION, "is_undone", is_undone)]


@mutant
def cancel_after_the_pivot() -> Sequence[Patch]:
    """A cancel turns a saga back that is past its pivot."""
    original = real(OPERATOR, "on_cancel")

    def on_cancel(work: Any, message: Any) -> Any:
        work.draft.pivot = None
        return original(work, message)

    return [(DECIDE, "on_cancel", on_cancel)]


@mutant
def impatient_timeout() -> Sequence[Patch]:
    """Whoever looks at a saga lets everything expire that is on its way."""

    def on_woke(work: Any) -> None:
        for path in list(work.draft.steps):
            if work.draft.steps[path].action.doing is Doing.SENT:
                expire_action(work, path)

    return [(DECIDE, "_on_woke", on_woke)]


@mutant
def impatient_deadline() -> Sequence[Patch]:
    """A deadline is over two seconds before its time."""
    original = real(DECIDE, "_check_deadline")
    soon = timedelta(seconds=2)

    def check(work: Any) -> None:
        deadline = work.draft.deadline
        if deadline is not None:
            work.draft.deadline = deadline - soon
        original(work)
        if work.draft.deadline is not None:
            work.draft.deadline = deadline

    return [(DECIDE, "_check_deadline", check)]


@mutant
def decided_by_chance() -> Sequence[Patch]:
    """A delay is drawn, and not computed from what it is a delay of."""
    return [(CORE_WORK, "fraction", _chance)]


@mutant
def any_attempt_may_fail() -> Sequence[Patch]:
    """A failure of an attempt long given up counts for the latest."""
    original = real(REPLIES, "_on_bad_news")

    def on_bad_news(work: Any, node: Any, step: Any, reply: Any) -> Any:
        return original(work, node, step, replace(reply, attempt=step.action.attempt))

    return [(REPLIES, "_on_bad_news", on_bad_news)]


def _chance(*_: object) -> float:
    return random.random()
