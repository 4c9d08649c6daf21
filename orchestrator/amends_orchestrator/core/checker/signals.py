"""Promise 13, signals: recorded once, taken once, the oldest first, and none lost."""

from collections.abc import Iterator, Mapping

from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core import journal_signals as s
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Folded
from amends_orchestrator.core.checker.history import Sent
from amends_orchestrator.core.plan import AwaitNode


def signals_are_taken_once(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: each signal is recorded once, and taken by one step that awaits its event."""
    for folded in evidence.folded:
        yield from _taken_once(folded)


def _taken_once(folded: Folded) -> Iterator[Broken]:
    def broken(text: str, path: StepPath | None = None) -> Broken:
        return Broken(text, folded.past.identity.saga_id, path)

    ids: set[str] = set()
    free: dict[str, list[int]] = {}
    for entry in folded.entries:
        match entry.event:
            case s.SignalReceived(id=signal_id, event=event):
                if signal_id in ids:
                    yield broken(f"signal {signal_id} is recorded twice")
                if entry.back:
                    yield broken(f"signal {signal_id} is recorded after the saga turned back")
                ids.add(signal_id)
                free.setdefault(event, []).append(entry.row.seq)
            case s.StepSignalled(path=path, signal=row):
                node = folded.past.plan.node_of(path)
                waiting = free.get(node.event, []) if isinstance(node, AwaitNode) else []
                if row not in waiting:
                    yield broken(f"takes row {row}, which holds no free signal for it", path)
                    continue
                if row != waiting[0]:
                    yield broken(f"takes row {row}, and row {waiting[0]} came before", path)
                waiting.remove(row)
            case _:
                pass


def signals_are_what_was_sent(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: what is recorded was sent like this, to this saga, by its tenant."""
    sent: dict[str, list[Sent]] = {}
    for one in evidence.history.sent or ():
        sent.setdefault(one.id, []).append(one)
    for folded in evidence.folded:
        for event in (entry.event for entry in folded.entries):
            if isinstance(event, s.SignalReceived):
                told = (event.event, event.data)
                fits = (one for one in sent.get(event.id, ()) if (one.event, one.data) == told)
                if not any(_is_meant(one, folded) for one in fits):
                    text = f"signal {event.id} is recorded with {event.data}, which nobody sent"
                    yield Broken(text, folded.past.identity.saga_id)


def _is_meant(sent: Sent, folded: Folded) -> bool:
    identity = folded.past.identity
    if sent.tenant != identity.tenant:
        return False
    if sent.saga_id is not None:
        return sent.saga_id == identity.saga_id
    return (sent.definition, sent.key) == (identity.definition, identity.key)


def signals_are_not_lost(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: when all is quiet, what was accepted is recorded, or its saga never came."""
    recorded = _recorded(evidence)
    dropped = evidence.history.dropped or frozenset()
    for sent in evidence.history.sent or ():
        if sent.answer not in ("taken", "kept") or sent.id in dropped:
            continue
        meant = [one.past.identity.saga_id for one in evidence.folded if _is_meant(sent, one)]
        if meant and (sent.id, meant[0]) not in recorded:
            yield Broken(f"signal {sent.id} was {sent.answer}, and is not recorded", meant[0])
        if not meant and sent.answer == "taken":
            yield Broken(f"signal {sent.id} was taken by a saga that is not there")


def _recorded(evidence: Evidence) -> Mapping[tuple[str, SagaId], s.SignalReceived]:
    return {
        (entry.event.id, folded.past.identity.saga_id): entry.event
        for folded in evidence.folded
        for entry in folded.entries
        if isinstance(entry.event, s.SignalReceived)
    }
