"""Promises 6, 10, 11, 13 and 15: messages, requests and tenants against what was committed."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from amends_contracts.names import Op, SagaId
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Entry
from amends_orchestrator.core.checker.history import Made
from amends_orchestrator.core.state import Doing, StepState, StepStatus

_Key: TypeAlias = tuple[SagaId | None, str]
"""A saga, and what was asked of it."""


# --- messages ------------------------------------------------------------------------------------


def intent_before_dispatch(evidence: Evidence) -> Iterator[Broken]:
    """Promise 6: no message without the journal row of the step that sends it."""
    told = set(_dispatches(evidence))
    seen: set[str] = set()
    for made in (*(evidence.history.committed or ()), *(evidence.history.published or ())):
        if made.id not in seen and (made.saga_id, made.path, made.op, made.attempt) not in told:
            yield _about(made, f"message {made.id} has no row in the journal")
        seen.add(made.id)


def _dispatches(evidence: Evidence) -> Iterator[tuple[SagaId, str, Op, int]]:
    for folded in evidence.folded:
        saga_id = folded.past.identity.saga_id
        for entry in folded.entries:
            match entry.event:
                case j.StepDispatched(path=path, attempt=attempt):
                    yield saga_id, path, Op.ACTION, attempt
                case j.UndoDispatched(path=path, attempt=attempt):
                    yield saga_id, path, Op.COMPENSATION, attempt
                case (
                    j.StepProbed(path=path, attempt=attempt)
                    | j.UndoProbed(path=path, attempt=attempt)
                ):
                    yield saga_id, path, Op.PROBE, attempt
                case _:
                    pass


def no_effect_without_intent(evidence: Evidence) -> Iterator[Broken]:
    """Promise 6: nothing happens to the world that the journal does not know of."""
    steps = {
        (folded.past.identity.saga_id, path)
        for folded in evidence.folded
        for path in folded.saga.state.steps
    }
    for saga_id, path in evidence.ledgers:
        if (saga_id, path) not in steps:
            yield Broken("took effect, and its journal does not know the step", saga_id, path)


def published_after_commit(evidence: Evidence) -> Iterator[Broken]:
    """Promise 10: nothing is published that was not committed before."""
    committed: dict[str, int] = {}
    for made in evidence.history.committed or ():
        committed.setdefault(made.id, made.order)
    for made in evidence.published.values():
        at = committed.get(made.id)
        if at is None:
            yield _about(made, f"message {made.id} was published and never committed")
        elif made.order < at:
            yield _about(made, f"message {made.id} was published before it was committed")


def everything_is_published(evidence: Evidence) -> Iterator[Broken]:
    """Promise 10: when all is quiet, every committed message was confirmed or returned."""
    settled = evidence.history.settled or frozenset()
    seen: set[str] = set()
    for made in evidence.history.committed or ():
        if made.id not in settled and made.id not in seen:
            yield _about(made, f"message {made.id} was committed and never published")
        seen.add(made.id)


def decided_before_acknowledged(evidence: Evidence) -> Iterator[Broken]:
    """Promise 10: a success is acknowledged to the broker when it is in the journal, not before."""
    folded = {one.past.identity.saga_id: one for one in evidence.folded}
    for heard in evidence.history.heard or ():
        one = folded.get(heard.saga_id)
        if one is None or heard.path in one.touched:
            continue
        seq = evidence.seq_at(heard.saga_id, heard.order)
        if seq < len(one.entries):
            step = one.step_before(heard.path, one.entries[seq].row.seq)
            if step is not None and _waits(step):
                text = "succeeded, which was acknowledged before it was journalled"
                yield Broken(text, heard.saga_id, heard.path)


def _waits(step: StepState) -> bool:
    """Whether the news that its action succeeded would still be journalled."""
    if step.known or step.alarmed or step.action.doing is Doing.CLOSED:
        return False
    return step.status not in (StepStatus.COMPENSATED, StepStatus.NOTHING_TO_COMPENSATE)


def repetitions_change_nothing(evidence: Evidence) -> Iterator[Broken]:
    """Promise 11: when all is over, the same messages once more change nothing.

    Except of a step that a person closed: what its commands may still do, somebody took over.
    """
    touched = {(one.past.identity.saga_id, path) for one in evidence.folded for path in one.touched}
    quiet_at = evidence.history.quiet_at
    assert quiet_at is not None
    for commit in evidence.history.commits or ():
        if commit.order > quiet_at:
            yield Broken(f"a repetition was journalled as row {commit.seq}", commit.saga_id)
    for effect in evidence.history.effects or ():
        if effect.order > quiet_at and (effect.saga_id, effect.path) not in touched:
            text = f"a repetition changed the world once more ({effect.change})"
            yield Broken(text, effect.saga_id, effect.path)


# --- requests ------------------------------------------------------------------------------------


def starts_are_unique(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: one saga for one key, whose journal begins with its start."""
    seen: dict[tuple[str, str, str], SagaId] = {}
    for past in evidence.history.sagas:
        identity = past.identity
        key = (identity.tenant, identity.definition, identity.key)
        other = seen.setdefault(key, identity.saga_id)
        if other != identity.saga_id:
            text = f"key {identity.key!r} of {identity.definition} started {other} too"
            yield Broken(text, identity.saga_id)
        kinds = [row.kind for row in past.rows]
        starts = [n for n, kind in enumerate(kinds) if kind == j.SagaStarted.KIND.value]
        if starts != [0]:
            yield Broken(f"has saga.started in rows {[n + 1 for n in starts]}", identity.saga_id)


def starts_are_answered_alike(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: a key answers one saga to one input, refuses another, is created once."""
    first: dict[tuple[str, str], tuple[SagaId | None, str]] = {}
    created: set[tuple[str, str]] = set()
    there = {past.identity.saga_id for past in evidence.history.sagas}
    for asked in evidence.history.asked or ():
        if asked.what != "start" or asked.answer != "applied":
            continue
        key = (asked.tenant, asked.key)
        known = first.setdefault(key, (asked.saga_id, asked.digest))
        if known != (asked.saga_id, asked.digest):
            yield Broken(f"start {asked.key} was answered {known[0]} too", asked.saga_id)
        if asked.saga_id not in there:
            yield Broken(f"start {asked.key} was answered with a saga that is not there")
        if asked.created and key in created:
            yield Broken(f"start {asked.key} created a saga twice", asked.saga_id)
        if asked.created:
            created.add(key)


def operators_leave_their_rows(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: each request that was applied stands in the journal, once."""
    rows: dict[_Key, int] = {}
    for folded in evidence.folded:
        for entry in folded.entries:
            key = (folded.past.identity.saga_id, _request_of(entry))
            rows[key] = rows.get(key, 0) + 1
    applied: dict[_Key, int] = {}
    unheard: dict[_Key, int] = {}
    for asked in evidence.history.asked or ():
        if asked.what != "start":
            count = {"applied": applied, "none": unheard}.get(asked.answer, {})
            key = (asked.saga_id, asked.what)
            count[key] = count.get(key, 0) + 1
    yield from _uneven(rows, applied, unheard)


def _request_of(entry: Entry) -> str:
    """The kind that an operator's request leaves; of a cancel, the row with who did it."""
    match entry.event:
        case j.SagaCompensating(failure=failure) | j.SagaStopping(failure=failure):
            # Not what a step failed with, and not its parent that takes it back.
            asked = failure.step is None and not (failure.by or "").startswith("saga ")
            cancelled = failure.type == ProblemType.CANCELLED and not entry.stopping
            return "cancel" if asked and cancelled else ""
        case _:
            return entry.row.kind


_JUDGED: Final = frozenset(
    {
        "cancel",
        j.SagaSuspended.KIND.value,
        j.SagaResumed.KIND.value,
        j.OperatorRetried.KIND.value,
        j.OperatorSkipped.KIND.value,
        j.OperatorResolved.KIND.value,
    }
)


def _uneven(
    rows: Mapping[_Key, int],
    applied: Mapping[_Key, int],
    unheard: Mapping[_Key, int],
) -> Iterator[Broken]:
    for key in {*rows, *applied}:
        saga_id, what = key
        if what not in _JUDGED:
            continue
        found, said = rows.get(key, 0), applied.get(key, 0)
        if not said <= found <= said + unheard.get(key, 0):
            text = f"{what}: {said} requests were applied, {found} stand in the journal"
            yield Broken(text, saga_id)


# --- tenants -------------------------------------------------------------------------------------


def tenants_are_apart(evidence: Evidence) -> Iterator[Broken]:
    """Promise 15: what one tenant's saga sends, does or is asked carries that tenant."""
    tenants = {past.identity.saga_id: past.identity.tenant for past in evidence.history.sagas}
    history = evidence.history
    for made in (*(history.committed or ()), *(history.published or ())):
        if made.tenant not in (None, tenants.get(made.saga_id, made.tenant)):
            yield _about(made, f"message {made.id} says tenant {made.tenant}")
    for effect in history.effects or ():
        if effect.tenant is not None and effect.tenant != tenants.get(effect.saga_id):
            yield Broken(f"acted for tenant {effect.tenant}", effect.saga_id, effect.path)
    for asked in history.asked or ():
        meant = None if asked.saga_id is None else tenants.get(asked.saga_id)
        if asked.answer == "applied" and meant is not None and meant != asked.tenant:
            yield Broken(f"{asked.what} of tenant {asked.tenant} was applied", asked.saga_id)


def _about(made: Made, text: str) -> Broken:
    return Broken(text, made.saga_id, made.path)
