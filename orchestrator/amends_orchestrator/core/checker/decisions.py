"""Promises 5 and 7 to 9, 12 and 14: what a journal says by itself, and against the saga's row."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from amends_contracts.names import StepPath
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core import journal_reviews as r
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Entry, Folded
from amends_orchestrator.core.checker.history import Stored
from amends_orchestrator.core.checker.order import plans_around, precedes
from amends_orchestrator.core.decide import decide
from amends_orchestrator.core.decision import Decision
from amends_orchestrator.core.evolve import replay
from amends_orchestrator.core.evolve_metered import metered
from amends_orchestrator.core.frames import frames_of
from amends_orchestrator.core.metering import NOTHING, UNUSED, exceeded
from amends_orchestrator.core.plan import EachNode, RepeatNode
from amends_orchestrator.core.state import (
    TERMINAL,
    Doing,
    OpState,
    SagaStatus,
    StepStatus,
    wake_at,
)
from amends_orchestrator.core.state_json import state_to_json

_OPEN: Final = frozenset(
    {
        StepStatus.RUNNING,
        StepStatus.PENDING,
        StepStatus.RETRYING,
        StepStatus.SUCCEEDED,
        StepStatus.UNKNOWN,
        StepStatus.COMPENSATING,
        StepStatus.COMPENSATION_FAILED,
    }
)
"""What holds back the compensation of what precedes it in the plan."""


def compensated_in_order(evidence: Evidence) -> Iterator[Broken]:
    """Promise 5: a compensation is sent when all that the plan sequences later is settled."""
    for folded in evidence.folded:
        plan = folded.past.plan
        for entry in folded.entries:
            if not isinstance(entry.event, j.UndoDispatched):
                continue
            path = entry.event.path
            if entry.pivot is not None:
                yield _at(folded, entry, f"is compensated after the pivot {entry.pivot}")
            for other in folded.lives:
                if plan.action_of(other) and precedes(plan, path, other):
                    yield from _if_open(folded, entry, other, "is compensated")


def _if_open(folded: Folded, entry: Entry, other: StepPath, what: str) -> Iterator[Broken]:
    step = folded.step_before(other, entry.row.seq)
    if step is not None and step.status in _OPEN and not step.residue:
        yield _at(folded, entry, f"{what} while {other} is {step.status}")


def plans_begin_clean(evidence: Evidence) -> Iterator[Broken]:
    """Promise 5: the next plan of alternatives begins when nothing is left of the one before."""
    for folded in evidence.folded:
        plan = folded.past.plan
        for entry in folded.entries:
            event = entry.event
            if not isinstance(event, j.StepEntered) or not event.case:
                continue
            for other in folded.lives:
                before = dict(plans_around(plan, other)).get(event.path, event.case)
                if before < event.case and plan.action_of(other):
                    yield from _if_open(folded, entry, other, f"enters plan {event.case + 1}")


def undone_where_turned_back(evidence: Evidence) -> Iterator[Broken]:
    """Promise 5: undone is what has turned back, the saga or a plan in it, and nothing else."""
    for folded in evidence.folded:
        for entry in folded.entries:
            if isinstance(entry.event, j.UndoDispatched) and not _has_turned_back(folded, entry):
                yield _at(folded, entry, "is compensated, and nothing has turned back")


def nothing_begins_there(evidence: Evidence) -> Iterator[Broken]:
    """Promise 5: where something has turned back no attempt of an action begins."""
    for folded in evidence.folded:
        for entry in folded.entries:
            if isinstance(entry.event, j.StepDispatched) and _has_turned_back(folded, entry):
                yield _at(folded, entry, "is begun where all is going back")


def _has_turned_back(folded: Folded, entry: Entry) -> bool:
    assert entry.row.step is not None, f"row {entry.row.seq} is of no step"
    return entry.back or not folded.held_by(entry.row.step, entry.row.seq)


def terminal_states_absorb(evidence: Evidence) -> Iterator[Broken]:
    """Promise 7: nothing is decided after a saga's end."""
    for folded in evidence.folded:
        for entry in folded.entries:
            if entry.ended:
                yield _at(folded, entry, f"{entry.row.kind} (row {entry.row.seq}) after the end")


def one_decision_per_seq(evidence: Evidence) -> Iterator[Broken]:
    """Promise 8: a journal counts its rows from 1 without a gap, as far as its saga says."""
    for past in evidence.history.sagas:
        saga_id = past.identity.saga_id
        seqs = [row.seq for row in past.rows]
        if seqs != list(range(1, len(seqs) + 1)):
            yield Broken(f"the journal's rows are numbered {seqs}", saga_id)
        if past.stored is not None and past.stored.seq != len(seqs):
            text = f"its row says seq {past.stored.seq}, its journal has {len(seqs)} rows"
            yield Broken(text, saga_id)


def commits_do_not_overlap(evidence: Evidence) -> Iterator[Broken]:
    """Promise 8: of two orchestrators that decide on the same state one at most commits."""
    for saga_id, commits in evidence.commits.items():
        seq = 0
        for commit in sorted(commits, key=lambda c: c.order):
            if commit.loaded_seq != seq:
                text = f"{commit.orchestrator} committed on seq {commit.loaded_seq}, it was {seq}"
                yield Broken(text, saga_id)
            seq = commit.seq


def journal_folds(evidence: Evidence) -> Iterator[Broken]:
    """Promise 9: the rows of a journal can follow one another."""
    for folded in evidence.folded:
        if folded.broken is not None:
            yield Broken(folded.broken, folded.past.identity.saga_id)


def fold_is_the_state(evidence: Evidence) -> Iterator[Broken]:
    """Promise 9: folding the journal gives the stored state."""
    for folded in evidence.folded:
        stored, saga = folded.past.stored, folded.saga
        if stored is None or folded.broken is not None:
            continue
        told = (state_to_json(saga.state), saga.status, saga.residue)
        if told != (stored.state, stored.status, stored.residue):
            text = f"its journal says {saga.status}, its row {stored.status}, or they differ within"
            yield Broken(text, saga.identity.saga_id)


def every_prefix_is_a_state(evidence: Evidence) -> Iterator[Broken]:
    """Promise 9: the same for every prefix that was ever stored."""
    for folded in evidence.folded:
        saga_id = folded.past.identity.saga_id
        for commit in evidence.commits.get(saga_id, ()):
            told = folded.states.get(commit.seq)
            if told is not None and commit.state is not None and told != commit.state:
                yield Broken(f"row {commit.seq}: the state stored with it differs", saga_id)


def decisions_are_repeatable(evidence: Evidence) -> Iterator[Broken]:
    """Promise 9: the same journal and message give the same rows and commands."""
    by_saga = {folded.past.identity.saga_id: folded for folded in evidence.folded}
    for decided in evidence.history.decided or ():
        decision = decided.decision
        folded = by_saga.get(decision.saga.identity.saga_id)
        if folded is None or not decision.rows or decision.rows[0].seq == 1:
            continue
        before = folded.past.rows[: decision.rows[0].seq - 1]
        values = {row.seq: row.data for row in before}
        saga = replay(before, folded.past.identity)
        again = decide(folded.past.plan, saga, values, decided.message, decided.now)
        same = isinstance(again, Decision) and (again.rows, again.sends) == (
            decision.rows,
            decision.sends,
        )
        if not same:
            text = f"row {decision.rows[0].seq}: decided again, it comes out otherwise"
            yield Broken(text, saga.identity.saga_id)


def something_wakes_it(evidence: Evidence) -> Iterator[Broken]:
    """Promise 12: a saga that has not ended has a time at which it is looked at, early enough."""
    for folded in evidence.folded:
        stored, saga = folded.past.stored, folded.saga
        if stored is None or folded.broken is not None or stored.seq != saga.seq:
            continue
        if (stored.wake_at is None) != (stored.status in TERMINAL):
            yield Broken(f"{stored.status}, and wakes at {stored.wake_at}", saga.identity.saga_id)
        elif stored.wake_at is not None and stored.wake_at > _latest(folded, stored):
            text = f"wakes at {stored.wake_at}, and {wake_at(saga)} is due before"
            yield Broken(text, saga.identity.saga_id)


def _latest(folded: Folded, stored: Stored) -> datetime:
    """The latest time at which it must be looked at; an hourly look may have been set again."""
    due = wake_at(folded.saga)
    resting = stored.status in (SagaStatus.STUCK, SagaStatus.SUSPENDED)
    assert stored.wake_at is not None
    return stored.wake_at if due is None or resting else due


def every_saga_ends(evidence: Evidence) -> Iterator[Broken]:
    """Promise 12: without faults, and with operators who act, no saga goes on for ever."""
    for folded in evidence.folded:
        if evidence.history.calm and folded.saga.status not in TERMINAL:
            last = folded.past.rows[-1]
            text = f"is {folded.saga.status} for ever; its last row is {last.kind} {last.step}"
            yield Broken(text, folded.past.identity.saga_id)


def no_timer_is_early(evidence: Evidence) -> Iterator[Broken]:
    """Promise 14: what waits for a time happens at that time or later, by the database's clock."""
    for folded in evidence.folded:
        for entry in folded.entries:
            due = _due(entry)
            if due is not None and entry.row.at < due:
                late = (due - entry.row.at).total_seconds()
                yield _at(folded, entry, f"{entry.row.kind} came {late} s before its time")


def _due(entry: Entry) -> datetime | None:
    """When this row may have been written at the earliest, if a timer wrote it."""
    event, step = entry.event, entry.step
    match event:
        case j.SagaCompensating(failure=failure) | j.SagaStopping(failure=failure):
            return entry.deadline if failure.type == ProblemType.DEADLINE else None
        case j.SagaOverdue():
            return entry.deadline
        case _ if step is None:
            return None
        case j.StepDispatched():
            return _if(step.action, Doing.BACKOFF)
        case j.StepProbed():
            return _if(step.action, Doing.DOUBT)
        case j.UndoDispatched():
            return _if(step.undo, Doing.BACKOFF)
        case j.StepLeft():
            return _if(step.action, Doing.WAITING)
        case r.ReviewExpired():
            return _if(step.action, Doing.REVIEWING)
        case j.UndoProbed():
            return _if(step.undo, Doing.DOUBT)
        case j.StepDoubted(problem=problem) | j.StepRetrying(problem=problem):
            timed_out = problem.type == ProblemType.TIMEOUT
            return _if(step.action, Doing.SENT) if timed_out else None
        case j.UndoRetrying(problem=problem):
            timed_out = problem.type == ProblemType.TIMEOUT
            return _if(step.undo, Doing.SENT) if timed_out else None
        case _:
            return None


def _if(op: OpState, doing: Doing) -> datetime | None:
    return op.due if op.doing is doing else None


def attempts_within_budget(evidence: Evidence) -> Iterator[Broken]:
    """Promise 14: no step is tried more often than its policy allows, unless an operator says."""
    for folded in evidence.folded:
        for entry in folded.entries:
            event, step = entry.event, entry.step
            match event:
                case j.StepDispatched(path=path, attempt=attempt):
                    op, undo = (step.action if step else None), False
                case j.UndoDispatched(path=path, attempt=attempt):
                    op, undo = (step.undo if step else None), True
                case _:
                    continue
            node = folded.past.plan.action_of(path)
            if node is None or op is None or (op.resend and attempt == op.attempt):
                continue
            retry = node.undo.retry if undo and node.undo is not None else node.retry
            if retry.max_attempts is not None and attempt - op.base > retry.max_attempts:
                yield _at(folded, entry, f"attempt {attempt}, {retry.max_attempts} are allowed")
            if attempt != op.attempt + 1:
                yield _at(folded, entry, f"attempt {attempt} after attempt {op.attempt}")


def budgets_hold(evidence: Evidence) -> Iterator[Broken]:
    """Promise 14: after every row, what is spent and reserved is within the saga's budget."""
    for folded in evidence.folded:
        budget, meter = folded.past.plan.budget, UNUSED
        for entry in folded.entries if budget is not None else ():
            assert budget is not None
            meter = metered(meter, entry.event)
            over = exceeded(budget, meter, NOTHING)
            if over is not None:
                yield _at(folded, entry, f"the budget is passed: {over}")


def loops_within_limits(evidence: Evidence) -> Iterator[Broken]:
    """Promise 14: no iteration beyond a repeat's `max`, none left out, no more items than allowed
    at once.
    """
    for folded in evidence.folded:
        plan = folded.past.plan
        for entry in folded.entries:
            event = entry.event
            node = None if entry.row.step is None else plan.node_of(entry.row.step)
            if isinstance(event, j.StepTurned) and isinstance(node, RepeatNode):
                turn = 0 if entry.step is None else entry.step.loop.turn
                if event.turn != turn + 1 or event.turn > node.max:
                    text = f"iteration {event.turn} after {turn}, {node.max} are allowed"
                    yield _at(folded, entry, text)
            elif isinstance(event, j.StepDispatched) and event.first:
                yield from _crowded(folded, entry)


def _crowded(folded: Folded, entry: Entry) -> Iterator[Broken]:
    """Whether more items of an each are at work with this one than it allows."""
    plan = folded.past.plan
    for frame in frames_of(entry.row.step or ""):
        each = plan.node_of(frame.holder)
        if not isinstance(each, EachNode):
            continue
        at_work = {frame.number}
        for other in folded.lives:
            step = folded.step_before(other, entry.row.seq)
            inside = [f for f in frames_of(other) if f.holder == frame.holder]
            if inside and plan.action_of(other) and step is not None and step.is_open:
                at_work.add(inside[0].number)
        if len(at_work) > each.concurrency:
            text = f"{len(at_work)} items of {frame.holder} at once, {each.concurrency} are allowed"
            yield _at(folded, entry, text)


def _at(folded: Folded, entry: Entry, text: str) -> Broken:
    return Broken(text, folded.past.identity.saga_id, entry.row.step)
