"""What the names of an expression mean at a place: `input`, `steps.<id>.output`, `item`, `turn` …

A template stands at a step and in a frame (core.frames). From there a step is the instance in the
same frames; behind an `each` that the place is not in, it is the list of all items' instances, and
behind a `repeat` the one of the last iteration. What did not run, or was undone because its plan
of alternatives failed, is null.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias, cast

from amends_contracts.expressions import Reference
from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.expressions import ExpressionError
from amends_orchestrator.core.frames import Frame, frames_of, item_prefix, prefix_at, turn_prefix
from amends_orchestrator.core.packed import output_seq_of
from amends_orchestrator.core.plan import Place, Plan
from amends_orchestrator.core.state import StepState

Seqs: TypeAlias = "int | list[Seqs]"
"""Rows that hold an output, or those of all items; 0 where there is none."""


class Recorded(Protocol):
    """What a scope looks into."""

    @property
    def plan(self) -> Plan:
        """The definition."""
        ...

    def named(self) -> Json:
        """Id and key of the saga that the plan speaks of."""
        ...

    @property
    def steps(self) -> Mapping[StepPath, StepState]:
        """What ran."""
        ...

    def row_data(self, seq: int) -> Json:
        """The data of a journal row."""
        ...


class Scope:
    """The names at one place."""

    __slots__ = ("_action", "_place", "_prefix", "_recorded")

    def __init__(
        self, recorded: Recorded, place: Place, prefix: str, action: tuple[Json, Json] | None
    ) -> None:
        self._recorded = recorded
        self._place = place
        self._prefix = prefix
        self._action = action
        """(input, output) of the action, in the mapping of its undo."""

    def rows(self, references: Sequence[Reference]) -> Iterator[int]:
        """Seqs of all rows that these references are looked up in; 0 names none."""
        for reference in references:
            match reference:
                case ("input", *_):
                    yield 1
                case ("steps", str(name), *_):
                    yield from _flat(self._seqs(name))
                case ("item", *_):
                    yield self._items_seq()
                case ("failure", *_):
                    yield self._failure_seq()
                case _:
                    pass

    def root(self, reference: Reference) -> tuple[Json | ExpressionError, int]:
        """The value of the longest known prefix of `reference`, and that prefix's length."""
        recorded = self._recorded
        match reference[0]:
            case "input":
                return recorded.row_data(1).get("input"), 1
            case "steps" if reference[2:3] == ("output",):
                return self._outputs(self._seqs(str(reference[1]))), 3
            case "saga":
                return recorded.named(), 1
            case "action" if self._action is not None and reference[1:2] == ("input",):
                return self._action[0], 2
            case "action" if self._action is not None and reference[1:2] == ("output",):
                return self._action[1], 2
            case "item" if (seq := self._items_seq()) != 0:
                return recorded.row_data(seq)["items"][self._number(each=True)], 1
            case "index":
                return self._number(each=True), 1
            case "turn":
                return self._number(each=False), 1
            case "failure" if (seq := self._failure_seq()) != 0:
                return _failure(recorded.row_data(seq)), 1
            case _:
                return ExpressionError(f"nothing is named {'.'.join(map(str, reference))}"), 1

    def lenient(self, reference: Reference) -> bool:
        """Whether members of a null are null: an undo's `action.output` when it is unknown."""
        return reference[:2] == ("action", "output")

    # --- what repeats around the place

    def _frame(self, *, each: bool) -> Frame | None:
        frames = frames_of(self._prefix)
        return next((frame for frame in reversed(frames) if frame.each is each), None)

    def _number(self, *, each: bool) -> Json | ExpressionError:
        frame = self._frame(each=each)
        if frame is None:
            return ExpressionError(f"there is no {'item' if each else 'iteration'} here")
        return frame.number

    def _items_seq(self) -> int:
        frame = self._frame(each=True)
        step = None if frame is None else self._recorded.steps.get(frame.holder)
        return 0 if step is None else step.input_seq

    def _failure_seq(self) -> int:
        """Of the innermost alternatives around the place that are past their first plan."""
        for name, number in reversed(self._place.plans):
            if number:
                step = self._recorded.steps.get(self._path_of(name))
                return 0 if step is None else step.loop.failure_seq
        return 0

    def _path_of(self, name: str) -> StepPath:
        """The path of a step that holds the place."""
        depth = len(self._recorded.plan.places[name].repeats)
        return StepPath(prefix_at(self._prefix, depth) + name)

    # --- outputs of steps

    def _seqs(self, name: str) -> Seqs:
        place = self._recorded.plan.places.get(name)
        if place is None:
            return 0
        if not place.repeats and not place.plans:
            return output_seq_of(self._recorded.steps, StepPath(name))
        shared = 0
        for repeats, frame in zip(place.repeats, frames_of(self._prefix), strict=False):
            if repeats != frame.id:
                break
            shared += 1
        return self._below(prefix_at(self._prefix, shared), place.repeats[shared:], name)

    def _below(self, prefix: str, repeats: tuple[str, ...], name: str) -> Seqs:
        """The instances of `name` under a prefix, through what repeats between the two."""
        holder = repeats[0] if repeats else name
        step = self._recorded.steps.get(StepPath(prefix + holder))
        if step is None or not self._holds(prefix, holder):
            return 0
        if not repeats:
            return step.output_seq
        if step.loop.count is not None:
            inside = (item_prefix(prefix + holder, n) for n in range(step.loop.count))
            return [self._below(each, repeats[1:], name) for each in inside]
        if step.loop.turn:
            return self._below(turn_prefix(prefix + holder, step.loop.turn), repeats[1:], name)
        return 0

    def _holds(self, prefix: str, name: str) -> bool:
        """Whether every plan that the step belongs to is the one that its alternatives run."""
        places, steps = self._recorded.plan.places, self._recorded.steps
        for alternatives, number in places[name].plans:
            depth = len(places[alternatives].repeats)
            step = steps.get(StepPath(prefix_at(prefix, depth) + alternatives))
            if step is None or step.chosen != number:
                return False
        return True

    def _outputs(self, seqs: Seqs) -> Json:
        if isinstance(seqs, list):
            return [self._outputs(seq) for seq in seqs]
        return output_in(self._recorded.row_data(seqs)) if seqs else None


def output_in(row: Json) -> Json:
    """The output that a journal row holds: of an action, or the data of a signal."""
    data = cast("dict[str, Json]", row)
    return data.get("output", data.get("data"))


def _flat(seqs: Seqs) -> Iterator[int]:
    if isinstance(seqs, int):
        yield seqs
        return
    for seq in seqs:
        yield from _flat(seq)


def _failure(row: Json) -> Json:
    """`failure` in the plan that comes next: the problem of the plan before, and of which step."""
    problem = cast("dict[str, Json]", row["problem"])
    failure = cast("dict[str, Json]", row["failure"])
    unsaid = {"title": "", "status": None, "detail": None, "instance": None}
    return unsaid | {"step": failure.get("step")} | problem
