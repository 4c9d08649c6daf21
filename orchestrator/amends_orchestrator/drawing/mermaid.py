"""The shapes as a Mermaid flowchart, for pages that render it."""

from collections.abc import Iterator
from itertools import count

from amends_contracts.definition import Definition
from amends_orchestrator.drawing.shapes import Shape, heading, shapes_of

_CLASSES = (
    "classDef undo stroke-dasharray:4 3,stroke:#b7791f",
    "classDef pivot stroke-width:4px,stroke:#c53030",
)
_OPEN = {
    "choice": ("{", "}"),
    "alternatives": ("{", "}"),
    "parallel": ("{{", "}}"),
    "review": ("[/", "/]"),
    "wait": ("([", "])"),
    "await": ("([", "])"),
    "saga": ("[[", "]]"),
    "agent": ("[[", "]]"),
}
"""How a step of a kind is framed; a rectangle otherwise."""


def mermaid(definition: Definition) -> str:
    """The whole flowchart, with a newline at its end."""
    name, below = heading(definition)
    chart = _Chart()
    chart.add(f'start(["{_quoted(name, below)}"])')
    last = chart.sequence(shapes_of(definition), "start", "")
    chart.add('done(["completed"])')
    chart.link(last, "done", chart.after)
    lines = ["flowchart TD", *(f"    {line}" for line in (*chart.lines, *_CLASSES))]
    return "\n".join(lines) + "\n"


class _Chart:
    """Lines in the order in which they are met. A node's id counts, for step ids may be words."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.after = ""
        """What the next link is labelled with."""
        self._numbers = count(1)

    def add(self, line: str) -> None:
        self.lines.append(line)

    def link(self, source: str, target: str, label: str) -> None:
        said = f'|"{_quoted(label)}"|' if label else ""
        self.add(f"{source} -->{said} {target}")

    def sequence(self, steps: tuple[Shape, ...], source: str, label: str) -> str:
        """Draws steps after `source`; answers the node from which it goes on."""
        self.after = label
        for shape in steps:
            source = self.step(shape, source)
        return source

    def step(self, shape: Shape, source: str) -> str:
        node = f"s{next(self._numbers)}"
        opened, closed = _OPEN.get(shape.kind, ("[", "]"))
        label = _quoted(*_words(shape))
        self.add(f'{node}{opened}"{label}"{closed}{":::pivot" if shape.pivot else ""}')
        before = ", ".join(filter(None, (self.after, shape.when and f"when {shape.when}")))
        self.link(source, node, before)
        self.after = ""
        if shape.undo is not None:
            self.add(f'{node} -.-> {node}u["{_quoted("↩ " + shape.undo)}"]:::undo')
        if shape.lanes:
            node = self.lanes(shape, node)
        self.after = "point of no return" if shape.pivot else ""
        return node

    def lanes(self, shape: Shape, node: str) -> str:
        if len(shape.lanes) == 1:
            last = self.sequence(shape.lanes[0].steps, node, "")
            self.add(f'{last} -.->|"{_AGAIN[shape.kind]}"| {node}')
            return last
        end = f"{node}e"
        self.add(f"{end}(( ))")
        for lane in shape.lanes:
            last = self.sequence(lane.steps, node, lane.label)
            self.link(last, end, self.after)
        return end


_AGAIN = {"each": "next item", "repeat": "again"}


def _words(shape: Shape) -> Iterator[str]:
    yield shape.id if shape.kind == "action" else f"{shape.kind} {shape.id}"
    if shape.does:
        yield shape.does
    yield from shape.facts
    if shape.final and not shape.pivot:
        yield "cannot be taken back"


def _quoted(*lines: str) -> str:
    """As it may stand between double quotes: what Mermaid reads as markup is written as codes."""
    return "<br/>".join("".join(_CODES.get(c, c) for c in line) for line in lines if line)


_CODES = {c: f"#{ord(c)};" for c in '#"<>&;`|{}[]()\\'}
