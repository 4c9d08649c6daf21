"""Promises between sagas: a step and its child, a saga and its late undo."""

from collections.abc import Iterator
from datetime import datetime

from amends_contracts.expressions import Literal, Record
from amends_contracts.names import ENGINE, Op, SagaId, StepPath, key_of
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Folded
from amends_orchestrator.core.journal_undo import StepAdopted
from amends_orchestrator.core.plan import ActionNode
from amends_orchestrator.core.state import SagaStatus, StepStatus


def _start(folded: Folded) -> j.SagaStarted | None:
    event = folded.entries[0].event if folded.entries else None
    return event if isinstance(event, j.SagaStarted) else None


# --- children ------------------------------------------------------------------------------------


def children_were_asked_for(evidence: Evidence) -> Iterator[Broken]:
    """Promise 6: a child is started by a step that its parent had journalled, once for each."""
    seen: dict[tuple[SagaId, StepPath], SagaId] = {}
    for folded in evidence.folded:
        start, saga_id = _start(folded), folded.past.identity.saga_id
        asker = None if start is None or start.undoes is not None else start.asked
        if asker is None:
            continue
        parent = evidence.by_id.get(asker.saga_id)
        if parent is not None and asker.path not in parent.saga.state.steps:
            yield Broken(f"was started by {asker.path} of {asker.saga_id}, unknown there", saga_id)
        other = seen.setdefault((asker.saga_id, asker.path), saga_id)
        if other != saga_id:
            yield Broken(f"step {asker.path} of {asker.saga_id} has child {other} too", saga_id)


def children_are_their_parents(evidence: Evidence) -> Iterator[Broken]:
    """Promise 15: a child is of its parent's tenant."""
    for folded in evidence.folded:
        start, identity = _start(folded), folded.past.identity
        asker = None if start is None else start.asked
        parent = None if asker is None else evidence.by_id.get(asker.saga_id)
        if parent is not None and parent.past.identity.tenant != identity.tenant:
            yield Broken(f"is of tenant {identity.tenant}, its parent not", identity.saga_id)


def children_share_their_parents_fate(evidence: Evidence) -> Iterator[Broken]:
    """Promise 3: when all is quiet a child is completed where its step succeeded, else undone."""
    by_key = {folded.past.identity.key: folded for folded in evidence.folded}
    for folded in evidence.folded:
        undoes = folded.saga.state.undoes
        parent = undoes or folded.past.identity.saga_id
        for path, step in folded.saga.state.steps.items():
            told = evidence.touched(folded, path)
            if told or not _runs_a_saga(folded.past.plan.action_of(path)):
                continue
            child = by_key.get(key_of(parent, path, Op.ACTION))
            if undoes is None:
                text = _quarrel(evidence, folded, step.status, child)
            else:
                text = _survival(evidence, step.status, child)
            if text is not None:
                yield Broken(text, folded.past.identity.saga_id, path)


def _runs_a_saga(node: ActionNode | None) -> bool:
    """Whether it is a step with a child of its own: the plan gives that no other key."""
    if node is None or node.service != ENGINE:
        return False
    match node.input.template:
        case Record(items=items):
            return all(name != "key" for name, _ in items)
        case Literal(value=value):
            return "key" not in value
        case _:
            return False


def _quarrel(
    evidence: Evidence, parent: Folded, status: StepStatus, child: Folded | None
) -> str | None:
    """What is wrong with a child, by the status of the step that runs it."""
    match status:
        case StepStatus.SUCCEEDED:
            if child is None:
                return "succeeded, and its child is not there"
            undos = evidence.undone_by.get(child.past.identity.saga_id, ())
            meant = parent.past.identity.saga_id in evidence.undone_by
            taken = [one for one in undos if (start := _start(one)) and start.asked]
            if child.saga.status is not SagaStatus.COMPLETED:
                return f"succeeded, and its child is {child.saga.status}"
            return "succeeded, and its child is taken back for it" if taken and not meant else None
        case StepStatus.COMPENSATED:
            if child is None:
                return "is compensated, and its child may still be started"
            return None if _is_gone(evidence, child) else _left(child)
        case StepStatus.FAILED:
            return None if child is None or _is_gone(evidence, child) else _left(child)
        case _:
            return None


def _left(child: Folded) -> str:
    return f"is over, and its child is {child.saga.status}"


def _is_gone(evidence: Evidence, child: Folded) -> bool:
    """Whether nothing of a child is left but what has an owner."""
    undos = evidence.undone_by.get(child.past.identity.saga_id, ())
    return SagaStatus.COMPENSATED in (child.saga.status, *(one.saga.status for one in undos))


def _survival(evidence: Evidence, status: StepStatus, child: Folded | None) -> str | None:
    """What is wrong with a child whose step a late undo has compensated."""
    if status is not StepStatus.COMPENSATED or child is None or _is_gone(evidence, child):
        return None
    return _left(child)


def outputs_of_children(evidence: Evidence) -> Iterator[Broken]:
    """Promise 1: what a step has of its child is the output that the child's journal holds.

    One that was too large for a message is left out.
    """
    by_key = {folded.past.identity.key: folded for folded in evidence.folded}
    for folded in evidence.folded:
        saga_id = folded.past.identity.saga_id
        for event in (entry.event for entry in folded.entries):
            if not isinstance(event, j.StepSucceeded) or event.via == "operator":
                continue
            child = by_key.get(key_of(saga_id, event.path, Op.ACTION))
            mine = _runs_a_saga(folded.past.plan.action_of(event.path))
            if child is None or not mine or not event.output:
                continue
            outputs = [
                e.event.output for e in child.entries if isinstance(e.event, j.SagaCompleted)
            ]
            if event.output not in outputs and event.output not in [{"output": o} for o in outputs]:
                text = f"is recorded with {event.output}, its child completed with {outputs}"
                yield Broken(text, saga_id, event.path)


# --- late undo -----------------------------------------------------------------------------------


def undone_by_one_saga(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: a saga is taken back by one late undo at most, and only once it has completed."""
    for original, undos in evidence.undone_by.items():
        if len(undos) > 1:
            yield Broken(f"is taken back by {len(undos)} sagas", original)
        known = evidence.by_id.get(original)
        if known is not None and known.saga.status is not SagaStatus.COMPLETED:
            yield Broken(f"is {known.saga.status}, and was undone late", original)


def windows_are_kept(evidence: Evidence) -> Iterator[Broken]:
    """Promise 14: no late undo begins after the window of one of its steps has closed."""
    for folded in evidence.folded:
        for entry in folded.entries:
            event = entry.event
            if isinstance(event, StepAdopted):
                step = folded.step_before(event.path, entry.row.seq + 1)
                succeeded = step is not None and step.status is StepStatus.SUCCEEDED
                until = step.retained_until if step is not None and succeeded else None
                if until is not None and entry.row.at >= until:
                    text = f"is taken back at {entry.row.at}, its window closed at {until}"
                    yield Broken(text, folded.past.identity.saga_id, event.path)
            elif isinstance(event, j.StepSucceeded) and event.via != "operator":
                yield from _window_as_planned(folded, event, entry.row.at)


def _window_as_planned(folded: Folded, event: j.StepSucceeded, at: datetime) -> Iterator[Broken]:
    node = folded.past.plan.action_of(event.path)
    span = None if node is None else node.compensable_for
    until = event.retained_until
    if (until is None) != (span is None) or (until and span and until - span != at):
        text = f"succeeded at {at}, its window of {span} ends at {until}"
        yield Broken(text, folded.past.identity.saga_id, event.path)
