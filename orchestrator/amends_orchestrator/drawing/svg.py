"""The shapes as SVG: marks of the layout, written with their colours for light and dark."""

from collections.abc import Iterable, Iterator
from html import escape

from amends_contracts.definition import Definition
from amends_orchestrator.drawing.layout import (
    Block,
    Box,
    Mark,
    Path,
    Words,
    sequence,
    text_width,
)
from amends_orchestrator.drawing.shapes import heading, shapes_of

MARGIN = 28
TOP = 98  # the name, the line below it, and the beginning of the flow

STYLE = """\
  svg { --paper: #ffffff; --ink: #1f2430; --quiet: #667085; --line: #98a2b3; --card: #ffffff;
    --frame: #98a2b314; --edge: #d0d5dd; --blue: #3b6fd4; --violet: #7c5cc4; --teal: #1e8a7a;
    --undo: #9a6408; --undo-paper: #fdf3dc; --red: #c23b34; --red-paper: #fdecea;
    font-family: ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #14171f; --ink: #e6e9f0; --quiet: #98a2b3; --line: #667085; --card: #1e2330;
      --frame: #98a2b312; --edge: #3a4254; --blue: #7aa5f5; --violet: #ae94ee; --teal: #54c5b3;
      --undo: #e3b35a; --undo-paper: #3a2f18; --red: #f2827c; --red-paper: #42211f }
  }
  .paper { fill: var(--paper) }
  text { fill: var(--ink); text-anchor: middle; font-size: 12px }
  .name { font-size: 20px; font-weight: 650; text-anchor: start }
  .below { fill: var(--quiet); font-size: 12px; text-anchor: start }
  .card { fill: var(--card); stroke: var(--edge); stroke-width: 1.2 }
  .review, .wait, .await { stroke: var(--teal) }
  .llm, .agent, .tool, .saga { stroke: var(--violet) }
  .pivot { stroke: var(--red); stroke-width: 2 }
  .frame { fill: var(--frame); stroke: var(--edge); stroke-width: 1 }
  .title { font-size: 14px; font-weight: 600 }
  .kind { font-size: 10px; fill: var(--quiet); letter-spacing: .08em; text-transform: uppercase }
  .does { font-size: 12px; fill: var(--blue) }
  .fact { font-size: 11px; fill: var(--quiet) }
  .when { font-size: 11px; fill: var(--teal); font-style: italic }
  .undo { fill: var(--undo-paper) }
  .final { fill: var(--red-paper) }
  .undo-said { font-size: 11px; fill: var(--undo) }
  .final-said { font-size: 11px; fill: var(--red) }
  .lane-box { fill: var(--card); stroke: var(--edge); stroke-width: 1 }
  .lane { font-size: 11px; fill: var(--quiet) }
  .flow { fill: none; stroke: var(--line); stroke-width: 1.4; stroke-linejoin: round }
  .back { fill: none; stroke: var(--line); stroke-width: 1.4; stroke-dasharray: 4 3 }
  .tip { fill: var(--line) }
  .no-return { fill: none; stroke: var(--red); stroke-width: 1.4; stroke-dasharray: 7 4 }
  .no-return-said { font-size: 11px; fill: var(--red); text-anchor: end }
  .end { fill: var(--line) }"""


def svg(definition: Definition) -> str:
    """A whole document: a file, or the source of an `<img>`, for its styles are its own."""
    name, below = heading(definition)
    body = sequence(shapes_of(definition), whole=True)
    width = max(body.width, text_width(name, 20), text_width(below, 12)) + 2 * MARGIN
    height = TOP + body.height + MARGIN + 22
    left = (width - body.width) / 2
    marks = [*body.at(left, TOP), *_ends(left + body.axis, body)]
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(name)}</title>",
        f"<desc>{escape(below)}</desc>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="paper" width="{_n(width)}" height="{_n(height)}" rx="12"/>',
        f'<text class="name" x="{MARGIN}" y="36">{escape(name)}</text>',
        f'<text class="below" x="{MARGIN}" y="55">{escape(below)}</text>',
        *_in_order(marks),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _ends(axis: float, body: Block) -> Iterator[Mark]:
    """Where it begins, and where it is completed."""
    begin, end = TOP - 22, TOP + body.height
    yield Box(axis - 5, begin - 5, 10, 10, "end", 5)
    yield Path(((axis, begin), (axis, TOP)), arrow=True)
    yield Box(axis - 6, end, 12, 12, "end", 3)
    yield Words(axis, end + 28, "completed", "fact")


def _in_order(marks: Iterable[Mark]) -> Iterator[str]:
    """Frames below lines below cards, so that no line runs over a word."""
    kept = list(marks)
    yield from map(_written, (m for m in kept if _is_frame(m)))
    yield from map(_written, (m for m in kept if isinstance(m, Path)))
    yield from map(_written, (m for m in kept if not isinstance(m, Path) and not _is_frame(m)))


def _is_frame(mark: Mark) -> bool:
    return isinstance(mark, Box) and mark.style.startswith("frame")


def _written(mark: Mark) -> str:
    match mark:
        case Box(x, y, width, height, style, radius):
            place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
            return f'<rect class="{style}" {place} rx="{_n(radius)}"/>'
        case Words(x, y, text, style, full):
            tooltip = "" if full is None else f"<title>{escape(full)}</title>"
            place = f'x="{_n(x)}" y="{_n(y)}"'
            return f'<text class="{style}" {place}>{tooltip}{escape(text)}</text>'
        case Path(points, style, arrow):
            through = " L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            tip = _tip(points) if arrow else ""
            return f'<path class="{style}" d="M{through}"/>{tip}'


def _tip(points: tuple[tuple[float, float], ...]) -> str:
    """An arrow's head at the last point; lines come from above or from the right."""
    (x0, y0), (x, y) = points[-2:]
    if x0 > x:
        around = ((x + 7, y - 4), (x + 7, y + 4))
    else:
        assert y0 <= y
        around = ((x - 4, y - 7), (x + 4, y - 7))
    corners = " ".join(f"{_n(px)},{_n(py)}" for px, py in ((x, y), *around))
    return f'<polygon class="tip" points="{corners}"/>'


def _n(value: float) -> str:
    """A number as short as it can be, the same on every machine."""
    return f"{value:.1f}".removesuffix(".0")
