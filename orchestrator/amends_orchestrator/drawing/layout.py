"""Where everything stands: shapes become blocks of marks, from the leaves up.

A block knows its size and how far from its left edge the flow runs through it, and holds marks
relative to its corner. Blocks are stacked into sequences and set side by side as lanes; nothing
moves afterwards. Sizes of text are estimates, for no font is at hand: they err to the wide side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from amends_orchestrator.drawing.shapes import Lane, Shape

GAP: Final = 28  # between steps: room for an arrow
PIVOT_GAP: Final = 46  # the same with the line of no return in it
LANE_GAP: Final = 22
PAD: Final = 18  # within a frame
HEAD: Final = 44  # a frame's own words
LABEL: Final = 30  # a lane's label and the line above it
CARD_WIDTH_MIN: Final = 168
TEXT_MAX: Final = 46  # characters of a line; the rest is in the tooltip
NO_RETURN: Final = 118  # what is said of the pivot, right of the flow
LOOP: Final = 26  # room for the way back beside a loop


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with round corners."""

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 8


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text. `full` is what it was before it was cut, for the tooltip."""

    x: float
    y: float
    text: str
    style: str
    full: str | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """Straight lines through points; an arrow points at the last one."""

    points: tuple[tuple[float, float], ...]
    style: str = "flow"
    arrow: bool = False


Mark: TypeAlias = Box | Words | Path


@dataclass(frozen=True, slots=True)
class Block:
    """Marks with a size; the flow enters at (axis, 0) and leaves at (axis, height)."""

    width: float
    height: float
    axis: float
    marks: tuple[Mark, ...]

    def at(self, x: float, y: float) -> tuple[Mark, ...]:
        """The marks with the block's corner at a point."""
        return tuple(_moved(mark, x, y) for mark in self.marks)


def _moved(mark: Mark, x: float, y: float) -> Mark:
    if isinstance(mark, Path):
        return replace(mark, points=tuple((px + x, py + y) for px, py in mark.points))
    return replace(mark, x=mark.x + x, y=mark.y + y)


def text_width(text: str, size: float) -> float:
    """About how wide a line is: narrow letters count half, wide ones more."""
    narrow = sum(c in "iljtfr.,:;'|!()[]I " for c in text)
    wide = sum(c in "mwMW@%&—…↩⚑" or ord(c) > 0x2E80 for c in text)
    return size * (0.6 * len(text) - 0.24 * narrow + 0.4 * wide)


def words(x: float, y: float, text: str, style: str) -> Words:
    """A line, cut where it would be too long."""
    if len(text) <= TEXT_MAX:
        return Words(x, y, text, style)
    return Words(x, y, text[: TEXT_MAX - 1] + "…", style, text)


def sequence(shapes: Sequence[Shape], *, whole: bool = False) -> Block:
    """Steps below each other along one axis; `whole`: it is the top sequence, with its ends."""
    blocks = [_step(shape) for shape in shapes]
    left = max((b.axis for b in blocks), default=CARD_WIDTH_MIN / 2)
    right = max((b.width - b.axis for b in blocks), default=CARD_WIDTH_MIN / 2)
    if any(shape.pivot for shape in shapes):
        right = max(right, NO_RETURN)
    marks: list[Mark] = []
    y = 0.0
    for n, (shape, block) in enumerate(zip(shapes, blocks, strict=True)):
        marks += block.at(left - block.axis, y)
        y += block.height
        last = n == len(blocks) - 1
        if shape.pivot:
            marks += _no_return(y + PIVOT_GAP / 2, left + right)
        if not last or whole or shape.pivot:
            gap = PIVOT_GAP if shape.pivot else GAP
            marks.append(Path(((left, y), (left, y + gap)), arrow=not last or whole))
            y += gap
    return Block(left + right, y, left, tuple(marks))


def _no_return(y: float, width: float) -> Iterable[Mark]:
    yield Path(((-PAD / 2, y), (width + PAD / 2, y)), "no-return")
    yield words(width + PAD / 2, y - 5, "point of no return", "no-return-said")


def _step(shape: Shape) -> Block:
    return _frame(shape) if shape.lanes else _card(shape)


# --- a step alone --------------------------------------------------------------------------------


def _card(shape: Shape) -> Block:
    lines = _lines(shape)
    needed = [text_width(line.text, _SIZES[line.style]) for line in lines]
    width = max(CARD_WIDTH_MIN, max(needed) + 2 * 16)
    marks: list[Mark] = []
    y = 12.0
    for line in lines:
        if line.style in ("undo-said", "final-said"):
            y += 4
            foot = "undo" if line.style == "undo-said" else "final"
            marks.append(Box(8, y, width - 16, 22, foot, 6))
            y += 5
        y += _SIZES[line.style]
        marks.append(replace(line, x=width / 2, y=y - 1))
        y += 6
    height = y + (8 if _foot(shape) else 6)
    style = f"card {shape.kind}" + (" pivot" if shape.pivot else "")
    return Block(width, height, width / 2, (Box(0, 0, width, height, style), *marks))


_SIZES: Final = {
    "kind": 10,
    "title": 14,
    "does": 12,
    "fact": 11,
    "when": 11,
    "undo-said": 11,
    "final-said": 11,
}


def _foot(shape: Shape) -> str | None:
    if shape.undo is not None:
        return f"↩ {shape.undo}"
    if shape.final and not shape.pivot:
        return "cannot be taken back"
    return None


def _lines(shape: Shape) -> list[Words]:
    lines = [] if shape.when is None else [words(0, 0, f"when {shape.when}", "when")]
    if shape.kind != "action":
        lines.append(words(0, 0, shape.kind, "kind"))
    lines.append(words(0, 0, f"⚑ {shape.id}" if shape.pivot else shape.id, "title"))
    if shape.does:
        lines.append(words(0, 0, shape.does, "does"))
    lines += [words(0, 0, fact, "fact") for fact in shape.facts]
    foot = _foot(shape)
    if foot is not None:
        style = "undo-said" if shape.undo is not None else "final-said"
        lines.append(words(0, 0, foot, style))
    return lines


# --- steps within a step -------------------------------------------------------------------------


def _frame(shape: Shape) -> Block:
    """Lanes side by side between a fork and a join, in a frame that says what they are."""
    lanes = [_lane(lane, fork=len(shape.lanes) > 1) for lane in shape.lanes]
    inner = sum(lane.width for lane in lanes) + LANE_GAP * (len(lanes) - 1)
    said = [words(0, 0, _caption(shape), "title"), words(0, 0, _purpose(shape), "fact")]
    loops = LOOP if shape.kind in ("each", "repeat") else 0
    needed = max(text_width(w.text, _SIZES[w.style]) for w in said) + 2 * PAD
    width = max(inner + 2 * (PAD + loops), needed, CARD_WIDTH_MIN)
    tall = max(lane.height for lane in lanes)
    top, axis = HEAD + 8.0, width / 2
    fork, join = top + 8, top + 8 + tall
    height = join + 20
    marks: list[Mark] = [Box(0, 0, width, height, f"frame {shape.kind}", 12)]
    marks += [replace(said[0], x=axis, y=21), replace(said[1], x=axis, y=37)]
    marks.append(Path(((axis, top - 4), (axis, fork))))
    marks.append(Path(((axis, join), (axis, height))))
    x = (width - inner) / 2
    for lane in lanes:
        marks += lane.at(x, fork)
        here = x + lane.axis
        marks.append(Path(((here, fork + lane.height), (here, join), (axis, join))))
        marks.append(Path(((axis, fork), (here, fork))))
        x += lane.width + LANE_GAP
    if loops:
        marks.append(_way_back(axis, width - PAD, fork, join))
    return Block(width, height, axis, tuple(marks))


def _way_back(axis: float, right: float, fork: float, join: float) -> Path:
    points = ((axis, join), (right, join), (right, fork), (axis + 3, fork))
    return Path(points, "back", arrow=True)


def _lane(lane: Lane, *, fork: bool) -> Block:
    """A label on the line, and the steps below it."""
    body = sequence(lane.steps)
    label = words(0, 0, lane.label, "lane")
    label_width = text_width(label.text, 11) + 20
    width = max(body.width, label_width if lane.label else 0)
    axis = max(body.axis, width / 2)
    width = max(width, axis + body.width - body.axis)
    top = LABEL + 20 if lane.label else GAP
    marks: list[Mark] = [Path(((axis, 0), (axis, top)), arrow=bool(lane.steps))]
    if lane.label:
        marks.append(Box(axis - label_width / 2, 12, label_width, 20, "lane-box", 10))
        marks.append(replace(label, x=axis, y=26))
    marks += body.at(axis - body.axis, top)
    below = 16 if fork else 14
    end = top + body.height
    marks.append(Path(((axis, end), (axis, end + below))))
    return Block(width, end + below, axis, tuple(marks))


def _caption(shape: Shape) -> str:
    return f"when {shape.when}: {shape.id}" if shape.when else shape.id


def _purpose(shape: Shape) -> str:
    said = {
        "parallel": "side by side, all must succeed",
        "choice": "the first that holds",
        "each": "each",
        "repeat": "repeat",
        "alternatives": "in order, until one holds",
    }[shape.kind]
    return f"{said} {shape.does}".strip()
