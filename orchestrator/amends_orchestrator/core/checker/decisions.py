"""Promises 5 and 7 to 9, 12 and 14: what a journal says by itself, and against the saga's row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from amends_contracts.messages import Json
from amends_contracts.names import SagaId, StepPath
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core import journal_reviews as r
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Entry, Folded
from amends_orchestrator.core.checker.history import Decided, Stored
from amends_orchestrator.core.checker.order import plans_around, precedes
from amends_orchestrator.core.checker.standing import Standing
from amends_orchestrator.core.decide import decide
from amends_orchestrator.core.decision import Decision
from amends_orchestrator.core.evolve import Draft
from amends_orchestrator.core.evolve_metered import metered
from amends_orchestrator.core.frames import frames_of
from amends_orchestrator.core.metering import NOTHING, UNUSED, exceeded
from amends_orchestrator.core.plan import EachNode, Plan, RepeatNode
from amends_orchestrator.core.state import (
    TERMINAL,
    Doing,
    OpState,
    Saga,
    SagaStatus,
    State,
    StepState,
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
        standing = Standing(plan)
        for entry, changes in zip(folded.entries, folded.changes, strict=True):
            event = entry.event
            if isinstance(event, j.UndoDispatched):
                if entry.pivot is not None:
                    yield _at(folded, entry, f"is compensated after the pivot {entry.pivot}")
                if standing.has_after(event.path):
                    later = (o for o in standing.steps if precedes(plan, event.path, o))
                    yield from _open(folded, entry, later, "is compensated")
            for path, step in changes.items():
                if plan.action_of(path):
                    standing.set(path, _is_open(step))


def _is_open(step: StepState) -> bool:
    return step.status in _OPEN and not step.residue


def _open(folded: Folded, entry: Entry, others: Iterable[StepPath], what: str) -> Iterator[Broken]:
    for other in sorted(others):
        step = folded.step_before(other, entry.row.seq)
        assert step is not None, f"{other} stands and is not there"
        yield _at(folded, entry, f"{what} while {other} is {step.status}")


def plans_begin_clean(evidence: Evidence) -> Iterator[Broken]:
    """Promise 5: the next plan of alternatives begins when nothing is left of the one before."""
    for folded in evidence.folded:
        plan = folded.past.plan
        if not plan.savepoints:
            continue
        inside: dict[StepPath, dict[StepPath, int]] = {}
        for entry, changes in zip(folded.entries, folded.changes, strict=True):
            event = entry.event
            if isinstance(event, j.StepEntered) and event.case:
                there = inside.get(event.path, {})
                before = (other for other, number in there.items() if number < event.case)
                yield from _open(folded, entry, before, f"enters plan {event.case + 1}")
            for path, step in changes.items():
                if plan.action_of(path):
                    for around, number in plans_around(plan, path):
                        there = inside.setdefault(around, {})
                        if _is_open(step):
                            there[path] = number
                        else:
                            there.pop(path, None)


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
    by_saga: dict[SagaId, dict[int, Decided]] = {}
    for decided in evidence.history.decided or ():
        rows = decided.decision.rows
        if rows and rows[0].seq > 1:
            of_saga = by_saga.setdefault(decided.decision.saga.identity.saga_id, {})
            of_saga[rows[0].seq] = decided
    for folded in evidence.folded:
        of_saga = by_saga.get(folded.past.identity.saga_id)
        if of_saga:
            yield from _decided_again(folded, of_saga)


def _decided_again(folded: Folded, decided_at: Mapping[int, Decided]) -> Iterator[Broken]:
    identity = folded.past.identity
    values: dict[int, Json] = {}
    draft = Draft(State(at=folded.past.rows[0].at))
    for entry in folded.entries:
        row = entry.row
        decided = decided_at.get(row.seq)
        if decided is not None:
            state = draft.freeze()
            draft = Draft(state)
            saga = Saga(identity=identity, seq=row.seq - 1, state=state)
            why = _differs(folded.past.plan, saga, values, decided)
            if why is not None:
                yield Broken(f"row {row.seq}: {why}", identity.saga_id)
        draft.apply(entry.event, row.seq, row.at)
        values[row.seq] = row.data


def _differs(plan: Plan, saga: Saga, values: Mapping[int, Json], decided: Decided) -> str | None:
    first = decided.decision
    try:
        again = decide(plan, saga, values, decided.message, decided.now)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        return f"decided again, it cannot be: {type(error).__name__} {error}"
    if isinstance(again, Decision) and (again.rows, again.sends) == (first.rows, first.sends):
        return None
    return "decided again, it comes out otherwise"


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
        case j.StepFailed(problem=problem) if problem.type == ProblemType.TIMEOUT:
            return _if(step.action, Doing.AWAITING)
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
        at_work = _ItemsAtWork(folded.past.plan)
        for entry, changes in zip(folded.entries, folded.changes, strict=True):
            event = entry.event
            node = None if entry.row.step is None else folded.past.plan.node_of(entry.row.step)
            if isinstance(event, j.StepTurned) and isinstance(node, RepeatNode):
                turn = 0 if entry.step is None else entry.step.loop.turn
                if event.turn != turn + 1 or event.turn > node.max:
                    text = f"iteration {event.turn} after {turn}, {node.max} are allowed"
                    yield _at(folded, entry, text)
            elif isinstance(event, j.StepDispatched) and event.first:
                yield from (_at(folded, entry, text) for text in at_work.crowds(event.path))
            for path, step in changes.items():
                at_work.note(path, step)


class _ItemsAtWork:
    """By each, the items of which some action is open, and how many of them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._open: set[StepPath] = set()
        self._items: dict[StepPath, Counter[int]] = {}

    def note(self, path: StepPath, step: StepState) -> None:
        if step.is_open is (path in self._open) or self._plan.action_of(path) is None:
            return
        (self._open.add if step.is_open else self._open.discard)(path)
        for frame in frames_of(path):
            items = self._items.setdefault(frame.holder, Counter())
            items[frame.number] += 1 if step.is_open else -1
            if not items[frame.number]:
                del items[frame.number]

    def crowds(self, path: StepPath) -> Iterator[str]:
        """What each says around it that allows less at once, if this begins now."""
        for frame in frames_of(path):
            each = self._plan.node_of(frame.holder)
            if isinstance(each, EachNode):
                count = len({frame.number, *self._items.get(frame.holder, ())})
                if count > each.concurrency:
                    text = f"{count} items of {frame.holder} at once"
                    yield f"{text}, {each.concurrency} are allowed"


def _at(folded: Folded, entry: Entry, text: str) -> Broken:
    return Broken(text, folded.past.identity.saga_id, entry.row.step)
