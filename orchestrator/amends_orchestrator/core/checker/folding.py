"""A journal read once, row by row: what stood before each fact and what stands at the end."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.checker.history import SagaPast
from amends_orchestrator.core.checker.order import plans_around
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.evolve import Draft
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.journal_rows import from_row
from amends_orchestrator.core.state import Direction, Saga, State, StepState, StepStatus
from amends_orchestrator.core.state_json import head_to_json, held_to_json

Changes: TypeAlias = Mapping[StepPath, StepState]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row and what stood before it."""

    row: JournalRow
    event: Event
    step: StepState | None
    """The row's step, before the row."""
    ended: bool
    back: bool
    """The saga had turned back."""
    pivot: StepPath | None
    deadline: datetime | None
    stopping: bool
    """A stop had been asked for and waited for the outcome of a pivot."""


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
    lives: Mapping[StepPath, Sequence[tuple[int, StepState]]]
    """By step: the seqs of the rows that changed it, and what it was then."""
    changes: Sequence[Changes]
    """By entry: the steps that its row changed, and what they were after it."""

    def step_before(self, path: StepPath, seq: int) -> StepState | None:
        """What a step was before row `seq`; None if it was not there yet."""
        life = self.lives.get(path, ())
        n = bisect_left(life, seq, key=lambda changed: changed[0])
        return life[n - 1][1] if n else None

    def held_by(self, path: StepPath, seq: int | None = None) -> bool:
        """Whether each plan of alternatives that a step lies in was the one tried before row
        `seq`, and had not failed; at the end if no row is named.
        """
        for around, number in plans_around(self.past.plan, path):
            if seq is None:
                step = self.saga.state.steps.get(around)
            else:
                step = self.step_before(around, seq)
            failed = step is not None and step.status is StepStatus.COMPENSATING
            if step is None or step.chosen != number or failed:
                return False
        return True


def fold(past: SagaPast, seqs: frozenset[int]) -> Folded:
    """Fold a journal; what cannot be folded ends it early, said in `broken`."""
    draft = Draft(State(at=past.rows[0].at))
    entries: list[Entry] = []
    changes: list[Changes] = []
    lives: dict[StepPath, list[tuple[int, StepState]]] = {}
    states: dict[int, Json] = {}
    steps: dict[StepPath, Json] = {}
    broken: str | None = None
    done = 0
    for row in past.rows:
        try:
            event = from_row(row)
            entry = _entry(draft, row, event)
            perhaps = _perhaps_changed(draft, event)
            draft.apply(event, row.seq, row.at)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            broken = f"row {row.seq} ({row.kind}) cannot follow: {type(error).__name__} {error}"
            break
        done = row.seq
        entries.append(entry)
        changes.append(_changes(lives, draft, perhaps, done))
        if seqs:
            steps |= {path: held_to_json(step) for path, step in changes[-1].items()}
        if done in seqs:
            states[done] = {**head_to_json(draft.freeze()), "steps": dict(steps)}
    saga = Saga(identity=past.identity, seq=done, state=draft.freeze())
    touched = frozenset(_touched(entries))
    return Folded(past, tuple(entries), states, saga, broken, touched, lives, changes)


def _perhaps_changed(draft: Draft, event: Event) -> list[StepPath]:
    """The step of the row, and those that are then awaited no longer than for a while."""
    path: StepPath | None = getattr(event, "path", None)
    match event:
        case j.SagaCompensating():
            return list(draft.open)
        case j.StepPlanFailed(awaited=awaited):
            return [event.path, *awaited]
        case _:
            return [] if path is None else [path]


def _changes(
    lives: dict[StepPath, list[tuple[int, StepState]]],
    draft: Draft,
    perhaps: list[StepPath],
    seq: int,
) -> Changes:
    """What row `seq` has changed, kept in the lives of the steps."""
    changed: dict[StepPath, StepState] = {}
    for path in perhaps:
        step = draft.steps.get(path)
        life = lives.setdefault(path, [])
        if step is not None and (not life or life[-1][1] is not step):
            life.append((seq, step))
            changed[path] = step
    return changed


def _entry(draft: Draft, row: JournalRow, event: Event) -> Entry:
    return Entry(
        row=row,
        event=event,
        step=None if row.step is None else draft.steps.get(row.step),
        ended=draft.ended is not None,
        back=draft.direction is Direction.BACK,
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
