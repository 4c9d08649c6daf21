"""A journal read once, row by row: what stood before each fact and what stands at the end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.checker.history import SagaPast
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.evolve import Draft
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.journal_rows import from_row
from amends_orchestrator.core.plan import ActionNode, Plan, Sequence, children
from amends_orchestrator.core.state import Saga, State, StepState
from amends_orchestrator.core.state_json import state_to_json


@dataclass(frozen=True, slots=True)
class Entry:
    """One row and what stood before it."""

    row: JournalRow
    event: Event
    steps: Mapping[StepPath, StepState]
    ended: bool
    pivot: StepPath | None
    deadline: datetime | None
    stopping: bool
    """A stop had been asked for and waited for the outcome of a pivot."""

    @property
    def step(self) -> StepState | None:
        """The row's step, before the row."""
        return None if self.row.step is None else self.steps.get(self.row.step)


@dataclass(frozen=True, slots=True)
class Folded:
    """A journal, folded."""

    past: SagaPast
    entries: tuple[Entry, ...]
    states: Mapping[int, Json]
    """The state after those seqs that were asked for."""
    saga: Saga
    broken: str | None
    """Why the rows cannot all be folded."""
    touched: frozenset[StepPath]
    """Steps of which a person said what became of them."""


def fold(past: SagaPast, seqs: frozenset[int]) -> Folded:
    """Fold a journal; what cannot be folded ends it early, said in `broken`."""
    draft = Draft(State(at=past.rows[0].at))
    entries: list[Entry] = []
    states: dict[int, Json] = {}
    broken: str | None = None
    done = 0
    for row in past.rows:
        try:
            event = from_row(row)
            entries.append(_entry(draft, row, event))
            draft.apply(event, row.seq, row.at)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            broken = f"row {row.seq} ({row.kind}) cannot follow: {type(error).__name__} {error}"
            break
        done = row.seq
        if done in seqs:
            states[done] = state_to_json(draft.freeze())
    saga = Saga(identity=past.identity, seq=done, state=draft.freeze())
    return Folded(past, tuple(entries), states, saga, broken, frozenset(_touched(entries)))


def _entry(draft: Draft, row: JournalRow, event: Event) -> Entry:
    return Entry(
        row=row,
        event=event,
        steps=dict(draft.steps),
        ended=draft.ended is not None,
        pivot=draft.pivot,
        deadline=draft.deadline,
        stopping=draft.stop is not None,
    )


def _touched(entries: list[Entry]) -> Iterator[StepPath]:
    for entry in entries:
        match entry.event:
            case j.OperatorSkipped(path=path) | j.OperatorResolved(path=path):
                yield path
            case _:
                pass


@lru_cache(maxsize=512)
def followers(plan: Plan) -> Mapping[str, frozenset[str]]:
    """By step id, the actions that the plan sequences after it."""
    found: dict[str, frozenset[str]] = {}
    _follow(plan.root, frozenset(), found)
    return found


def _follow(
    sequence: Sequence, after: frozenset[str], found: dict[str, frozenset[str]]
) -> frozenset[str]:
    """Note what follows each step of a sequence; the actions in it."""
    inside: frozenset[str] = frozenset()
    for node in reversed(sequence):
        later = inside | after
        if isinstance(node, ActionNode):
            found[node.id] = later
            inside |= {node.id}
        else:
            bodies = [_follow(body, later, found) for _, body in children(node)]
            inside = inside.union(*bodies)
    return inside
