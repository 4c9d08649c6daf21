"""Promise 9, payloads: what an action was told is what the journal had recorded by then.

Judged are members of an input that are plain paths (`steps.flight.output.code`, `item`, `input.n`);
what an expression computes, and `failure`, are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from amends_contracts.expressions import Expr, Record
from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Entry, Folded
from amends_orchestrator.core.checker.order import plans_around
from amends_orchestrator.core.frames import frames_of, item_prefix, turn_prefix


class _Unjudged(Exception):
    """This path is none that can be followed here."""


def inputs_are_what_was_recorded(evidence: Evidence) -> Iterator[Broken]:
    """Promise 9: an input's plain paths have the recorded values, of an `each` as a list."""
    for folded in evidence.folded:
        for entry in folded.entries:
            event = entry.event
            if not isinstance(event, j.StepDispatched) or not event.first:
                continue
            if entry.step is not None and entry.step.review.seq:
                continue  # what was approved is looked at in `reviews`: it may have been edited
            node = folded.past.plan.action_of(event.path)
            if node is None or not isinstance(node.input.template, Record):
                continue
            told = cast("dict[str, Any]", event.input or {})
            for name, part in node.input.template.items:
                if isinstance(part, Expr) and part.path is not None:
                    yield from _compared(folded, entry, part.path, told.get(name))


def _compared(
    folded: Folded, entry: Entry, path: tuple[str | int, ...], told: Json
) -> Iterator[Broken]:
    try:
        recorded = _Recorded(folded, entry).value(path)
    except _Unjudged:
        return
    if recorded != told:
        text = f"was told {told!r} for {'.'.join(map(str, path))}, recorded is {recorded!r}"
        yield Broken(text, folded.past.identity.saga_id, entry.row.step)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What stood in the journal before a row, as a step sees it."""

    folded: Folded
    entry: Entry

    def value(self, path: tuple[str | int, ...]) -> Json:
        """What a plain path names."""
        match path:
            case ("input", *rest):
                return _member(self._row(1).get("input"), rest)
            case ("item", *rest):
                each = [f for f in frames_of(self.entry.row.step or "") if f.each][-1]
                step = self.folded.step_before(each.holder, self.entry.row.seq)
                items = self._row(step.input_seq if step else 0).get("items")
                return _member(items, [each.number, *rest])
            case ("steps", str(name), "output", *rest):
                return _member(self._output(name), rest)
            case _:
                raise _Unjudged

    def _output(self, name: str) -> Json:
        """Of the instance in the frames that are shared, and of what repeats below these."""
        prefix, repeats = "", self.folded.past.plan.places[name].repeats
        for frame in frames_of(self.entry.row.step or ""):
            if not repeats or repeats[0] != frame.id:
                break
            prefix, repeats = frame.prefix, repeats[1:]
        return self._below(prefix, repeats, name)

    def _below(self, prefix: str, repeats: tuple[str, ...], name: str) -> Json:
        path = StepPath(prefix + (repeats[0] if repeats else name))
        step = self.folded.step_before(path, self.entry.row.seq)
        if step is None or not self._is_chosen(path):
            return None
        if not repeats:
            return self._row(step.output_seq).get("output") if step.output_seq else None
        if step.loop.count is None:
            return self._below(turn_prefix(path, step.loop.turn), repeats[1:], name)
        return [
            self._below(item_prefix(path, n), repeats[1:], name) for n in range(step.loop.count)
        ]

    def _is_chosen(self, path: StepPath) -> bool:
        """Whether each plan around it is the one that its alternatives tried last."""
        for around, number in plans_around(self.folded.past.plan, path):
            step = self.folded.step_before(around, self.entry.row.seq)
            if step is None or step.chosen != number:
                return False
        return True

    def _row(self, seq: int) -> dict[str, Any]:
        if not 0 < seq < self.entry.row.seq:
            raise _Unjudged
        return cast("dict[str, Any]", self.folded.past.rows[seq - 1].data or {})


def _member(value: Json, rest: list[str | int]) -> Json:
    for name in rest:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            raise _Unjudged from None
    return value
