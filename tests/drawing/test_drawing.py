"""Definitions as pictures: the files beside this test, byte for byte, and what any picture keeps.

`AMENDS_WRITE_DOCS=1` writes the files anew; look at them then.
"""

import os
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from amends_contracts.definition import Definition
from amends_contracts.documents import load_definition
from amends_orchestrator.cli.plan_source import load
from amends_orchestrator.drawing import Lane, Shape, mermaid, shapes_of, svg
from amends_orchestrator.drawing.layout import Box, sequence
from amends_orchestrator.drawing.shapes import duration

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EVERYTHING = load_definition(HERE / "everything.yaml")
NASTY = '<script> & "quotes" ]]> --> `x` #1; {y} | (z)'


def trip() -> Definition:
    """The example's plan."""
    return load(str(ROOT / "examples" / "trip" / "book_trip.py")).resolved


def said_by(title: str) -> Definition:
    """A definition with words that mean something to XML and Mermaid."""
    step = {"id": "a", "kind": "review", "title": title}
    return Definition.model_validate({"name": "test", "description": title, "steps": [step]})


@pytest.mark.parametrize(
    ("file", "picture"),
    [
        (HERE / "everything.svg", svg(EVERYTHING)),
        (HERE / "everything.mmd", mermaid(EVERYTHING)),
        (ROOT / "docs" / "book-trip.svg", svg(trip())),
        (HERE / "book-trip.mmd", mermaid(trip())),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_pictures_are_these_files(file: Path, picture: str) -> None:
    """A change of a picture is seen by somebody."""
    if os.environ.get("AMENDS_WRITE_DOCS"):
        file.write_text(picture)
    assert file.read_text() == picture


def test_a_step_says_what_differs_from_the_ordinary() -> None:
    """Its command, how it is taken back, when it runs, and that it may be tried for ever."""
    parts = {
        "id": "seat",
        "kind": "action",
        "command": "flights.reserve",
        "when": "${ input.to != 'home' }",
        "retry": {"max_attempts": None},
        "compensation": {"verify": True},
        "pivot": True,
    }
    drawn = shapes_of(Definition.model_validate({"name": "t", "steps": [parts]}))
    assert drawn == (
        Shape(
            id="seat",
            kind="action",
            does="flights.reserve",
            facts=("tried until it succeeds",),
            when="input.to != 'home'",
            undo="flights.reserve, verified",
            pivot=True,
        ),
    )


def test_a_step_that_holds_others_has_lanes() -> None:
    """Each case is one, and so is what happens otherwise."""
    case = {"when": "${ input.n > 1 }", "steps": [{"id": "w", "kind": "wait", "for": "PT90S"}]}
    parts = {"id": "how", "kind": "choice", "cases": [case]}
    drawn = shapes_of(Definition.model_validate({"name": "t", "steps": [parts]}))
    waits = Shape("w", "wait", "1 min 30 s")
    lanes = (Lane("if input.n > 1", (waits,)), Lane("otherwise", ()))
    assert drawn == (Shape("how", "choice", "", lanes=lanes),)


def test_every_kind_is_drawn() -> None:
    """No kind of step is passed over."""
    kinds = set(re.findall(r"kind: (\w+)", (HERE / "everything.yaml").read_text()))
    assert kinds == {
        *("action", "llm", "tool", "agent", "review", "parallel", "choice", "each", "repeat"),
        *("alternatives", "wait", "await", "saga"),
    }
    ids = re.findall(r"id: (\w+)", (HERE / "everything.yaml").read_text())
    picture = svg(EVERYTHING)
    assert [i for i in ids if f">{i}</text>" not in picture and f"⚑ {i}<" not in picture] == []


def test_words_cannot_become_markup() -> None:
    """Text is text in both formats, cut but whole in the tooltip."""
    picture = ET.fromstring(svg(said_by(NASTY)))
    texts = [text for text in picture.itertext() if text.strip()]
    assert NASTY in texts
    chart = mermaid(said_by(NASTY))
    [line] = [line for line in chart.splitlines() if "review a" in line]
    label = re.fullmatch(r' *s1\[/"(.*)"/\]', line)
    assert label is not None
    assert not set('"<>`|{}[]()\\') & set(label[1].replace("<br/>", ""))


def test_nothing_is_drawn_outside_of_the_picture() -> None:
    """Boxes lie within the block, and cards of one sequence do not overlap."""
    block = sequence(shapes_of(EVERYTHING), whole=True)
    boxes = [mark for mark in block.marks if isinstance(mark, Box)]
    assert [
        box
        for box in boxes
        if not (0 <= box.x <= box.x + box.width <= block.width)
        or not (0 <= box.y <= box.y + box.height <= block.height)
    ] == []
    middle = sorted(
        (box for box in boxes if box.x < block.axis < box.x + box.width and box.radius != 10),
        key=lambda box: box.y,
    )
    outer = [b for b in middle if not any(o is not b and _within(b, o) for o in middle)]
    assert [(a, b) for a, b in pairwise(outer) if a.y + a.height > b.y] == []


def _within(inner: Box, outer: Box) -> bool:
    return outer.y <= inner.y and inner.y + inner.height <= outer.y + outer.height


@pytest.mark.parametrize(
    ("iso", "said"), [("PT0S", "0 s"), ("PT90S", "1 min 30 s"), ("P1DT2H", "1 d 2 h")]
)
def test_durations_are_said_in_words(iso: str, said: str) -> None:
    """As people write them."""
    step = {"id": "w", "kind": "wait", "for": iso}
    definition = Definition.model_validate({"name": "t", "steps": [step]})
    [shape] = shapes_of(definition)
    assert shape.does == said
    assert duration(definition.interrupt_after) == "10 s"
