"""A drill on the terminal: the matrix as it fills, and what is wrong with what failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from amends_orchestrator.drills.matrix import KINDS, Cell
from amends_orchestrator.drills.reports import faults_of, steps_of

LOOKS: Mapping[str, tuple[str, str]] = {
    "pass": ("✔", "ok"),
    "fail": ("✘", "bad"),
    "inconclusive": ("?", "undone"),
}
HISTORY_MAX = 14


class Screen:
    """Shows cells as they come; on a pipe, nothing moves."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._every: Sequence[Cell] = ()
        self._done: list[Mapping[str, Any]] = []

    def open(self) -> None:
        """Begin."""
        if self._console.is_terminal:
            self._live.start()

    def close(self) -> None:
        """End."""
        self._live.stop()

    def say(self, text: str) -> None:
        """What is done now, before there are cells."""
        self._live.update(Text(text, "quiet"))

    def begin(self, every: Sequence[Cell]) -> None:
        """All cells are known."""
        self._every = every
        self._show()

    def add(self, cell: Mapping[str, Any]) -> None:
        """One more is done."""
        self._done.append(cell)
        self._show()

    def _show(self) -> None:
        todo = len(self._every) - len(self._done)
        left = Text(f"{len(self._done)} of {len(self._every)} done, {todo} to go", "quiet")
        self._live.update(Group(matrix(self._done, self._every), left))


def matrix(done: Sequence[Mapping[str, Any]], every: Sequence[Cell] = ()) -> RenderableType:
    """Steps by faults; what is still to come is a dot."""
    planned = [{"step": cell.step, "fault": cell.fault.value} for cell in every]
    cells = [*done, *planned]
    faults = faults_of(cells)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="quiet")
    table.add_column("")
    for fault in faults:
        table.add_column(KINDS[fault].column, justify="center")
    verdicts = {(cell["step"], cell["fault"]): cell["verdict"] for cell in done}
    known = {(cell["step"], cell["fault"]) for cell in cells}
    for step in steps_of(cells):
        row = [Text(step, "name")]
        for fault in faults:
            verdict = verdicts.get((step, fault.value))
            waiting = Text("·" if (step, fault.value) in known else " ", "quiet")
            row.append(waiting if verdict is None else Text(*LOOKS[verdict]))
        table.add_row(*row)
    return table


def summary(whole: Mapping[str, Any]) -> RenderableType:
    """The matrix, what is wrong, and the numbers."""
    parts: list[RenderableType] = [matrix(whole["cells"]), Text()]
    for cell in whole["cells"]:
        if cell["verdict"] == "fail":
            parts += _failed(cell)
    parts += _open(whole["cells"])
    parts += [Text(f"still held: {held}", "bad") for held in whole["held"]]
    parts.append(
        Text.assemble(
            (f"{whole['pass']} pass", "ok"),
            ", ",
            (f"{whole['fail']} fail", "bad" if whole["fail"] else "quiet"),
            ", ",
            (
                f"{whole['inconclusive']} inconclusive",
                "quiet",
            ),
            (f" · coverage {whole['coverage']} % · {whole['seconds']} s", "quiet"),
        )
    )
    return Group(*parts)


def _failed(cell: Mapping[str, Any]) -> list[RenderableType]:
    name = f"{cell['step']}: {cell['title']}" if cell["step"] else str(cell["title"])
    parts: list[RenderableType] = [Text.assemble(("✘ ", "bad"), (name, "name"))]
    for finding in cell["findings"]:
        parts.append(Text(f"  {finding['what']}"))
        parts.append(Text.assemble(("  fix: ", "undone"), finding["fix"]))
    parts += [
        Text(f"  {line['at_s']:7.3f} s  {line['text']}", "quiet")
        for line in cell["history"][:HISTORY_MAX]
    ]
    parts.append(Text())
    return parts


def _open(cells: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Why cells are inconclusive, each reason once."""
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if cell["verdict"] == "inconclusive":
            reasons.setdefault(cell["why"], []).append(cell["step"] or "the whole saga")
    return [
        Text.assemble(("? ", "undone"), f"{', '.join(dict.fromkeys(steps))}: {why}")
        for why, steps in reasons.items()
    ]
