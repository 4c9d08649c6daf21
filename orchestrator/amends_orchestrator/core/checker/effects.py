"""Promises 1 to 4, and the world's side of 5: what participants did, against the journal."""

from collections.abc import Iterator, Mapping

from amends_contracts.messages import Effect as EffectClass
from amends_contracts.names import ENGINE, StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.checker.evidence import Broken, Evidence, Ledger
from amends_orchestrator.core.checker.folding import Folded
from amends_orchestrator.core.checker.order import plans_around, precedes
from amends_orchestrator.core.checker.standing import Standing
from amends_orchestrator.core.state import SagaStatus, StepStatus


def at_most_one_effect(evidence: Evidence) -> Iterator[Broken]:
    """Promise 1: at most one effect per step instance, unless only a person can tell."""
    for folded in evidence.folded:
        for path, node, ledger in evidence.actions(folded):
            if len(ledger.taken) > 1 and node.effect is not EffectClass.NONE:
                yield _of(folded, path, f"took effect {len(ledger.taken)} times")


def success_is_a_receipt(evidence: Evidence) -> Iterator[Broken]:
    """Promise 1: a recorded success is the receipt of the very effect that took place."""
    for folded in evidence.folded:
        plan, saga_id = folded.past.plan, folded.past.identity.saga_id
        for entry in folded.entries:
            event = entry.event
            match event:
                case j.StepSucceeded(path=path, output=output, via=via) if via != "operator":
                    told = event.problem is None
                case j.StepLate(path=path, output=output):
                    told = output is not None
                case _:
                    continue
            node = plan.action_of(path)
            if node is None or node.service == ENGINE or path in evidence.history.others:
                continue
            taken = evidence.ledger(folded, path).taken
            if not taken:
                yield Broken("is recorded as done, and nothing took effect", saga_id, path)
            elif told and _is_forged(output, [effect.receipt for effect in taken]):
                yield Broken(f"is recorded with {output}, which nobody gave out", saga_id, path)


def _is_forged(output: object, receipts: list[object]) -> bool:
    return None not in receipts and output not in receipts


def failed_without_effect(evidence: Evidence) -> Iterator[Broken]:
    """Promise 2: when all is quiet, a failed step has no effect."""
    for folded in evidence.folded:
        for path, _, ledger in evidence.actions(folded):
            step = folded.saga.state.steps[path]
            if (
                step.status is StepStatus.FAILED
                and ledger.there
                and not evidence.touched(folded, path)
            ):
                yield _of(folded, path, "failed, and its effect is there")


def undone_exactly_once(evidence: Evidence) -> Iterator[Broken]:
    """Promise 3: each effect of a compensated saga, or failed plan, is undone once."""
    for folded in evidence.folded:
        compensated = folded.saga.status is SagaStatus.COMPENSATED
        for path, _, ledger in evidence.actions(folded):
            left = ledger.there and not evidence.touched(folded, path)
            over = compensated or _is_given_up(folded, path)
            if over and left and not folded.saga.state.steps[path].residue:
                yield _of(folded, path, "is compensated, and its effect is there")


def _is_given_up(folded: Folded, path: StepPath) -> bool:
    """Whether it lies in a plan of alternatives after which another one was tried."""
    steps = folded.saga.state.steps
    chosen = [
        (number, steps[around].chosen)
        for around, number in plans_around(folded.past.plan, path)
        if around in steps
    ]
    return any(now is not None and number < now for number, now in chosen)


def no_undo_without_effect(evidence: Evidence) -> Iterator[Broken]:
    """Promise 3: no undo where no effect was, none twice, and none of what a saga stands by."""
    for folded in evidence.folded:
        for path, _, ledger in evidence.actions(folded):
            if len(ledger.undone) > len(ledger.taken):
                yield _of(folded, path, f"was undone {len(ledger.undone)} times {_count(ledger)}")
            for undone, taken in zip(ledger.undone, ledger.taken, strict=False):
                if undone.order < taken.order:
                    yield _of(folded, path, "was undone before it took effect")
            stands = folded.saga.status is SagaStatus.COMPLETED and not _is_undone(evidence, folded)
            if stands and ledger.undone and not _is_given_up(folded, path):
                yield _of(folded, path, "was undone, and its saga is completed")


def _is_undone(evidence: Evidence, folded: Folded) -> bool:
    """Whether a late undo has its effects in hand."""
    return folded.past.identity.saga_id in evidence.undone_by


def _count(ledger: Ledger) -> str:
    return f"and took effect {len(ledger.taken)} times"


def completed_with_effect(evidence: Evidence) -> Iterator[Broken]:
    """Promise 1: in a completed saga the effect of every step that succeeded is there."""
    for folded in evidence.folded:
        if folded.saga.status is not SagaStatus.COMPLETED or _is_undone(evidence, folded):
            continue
        for path, _, ledger in evidence.actions(folded):
            succeeded = folded.saga.state.steps[path].status is StepStatus.SUCCEEDED
            if succeeded and not ledger.there and not evidence.touched(folded, path):
                yield _of(folded, path, "succeeded, and its effect is not there")


def nothing_after_its_undo(evidence: Evidence) -> Iterator[Broken]:
    """Promise 4: no effect after its compensation, however late the action arrives."""
    for folded in evidence.folded:
        for path, node, ledger in evidence.actions(folded):
            over = [effect.order for effect in (*ledger.undone, *ledger.buried)]
            late = [e for e in ledger.taken if over and e.order > min(over)]
            if late and node.effect is not EffectClass.NONE:
                yield _of(folded, path, "took effect after its compensation")


def undone_in_order(evidence: Evidence) -> Iterator[Broken]:
    """Promise 5: what the plan sequences later is undone earlier.

    What a failed plan of alternatives did is undone before anything that comes later is done.
    """
    for folded in evidence.folded:
        plan = folded.past.plan
        ledgers = {
            path: known
            for path, _, known in evidence.actions(folded)
            if known.undone and not evidence.touched(folded, path)
        }
        whole, there = Standing(plan), Standing(plan)
        for path in ledgers:
            whole.set(path, True)
        for _, path, is_undone in _in_turn(ledgers):
            there.set(path, not is_undone)
            if is_undone:
                whole.set(path, False)
            standing = there if any(plans_around(plan, path)) else whole
            if is_undone and standing.has_after(path):
                for other in sorted(o for o in standing.steps if precedes(plan, path, o)):
                    yield _of(folded, path, f"was undone before {other}, which comes after it")


def _in_turn(ledgers: Mapping[StepPath, Ledger]) -> list[tuple[int, StepPath, bool]]:
    """When each step first took effect, and was first undone."""
    taken = ((one.taken[0].order, path, False) for path, one in ledgers.items() if one.taken)
    return sorted([*taken, *((one.undone[0].order, path, True) for path, one in ledgers.items())])


def _of(folded: Folded, path: StepPath, text: str) -> Broken:
    return Broken(text, folded.past.identity.saga_id, path)
