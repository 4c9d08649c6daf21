"""Where output goes: results on stdout, as text or JSON; errors and progress on stderr."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType
from rich.theme import Theme

from amends_orchestrator.cli.exits import CliError

THEME = Theme(
    {
        "ok": "green",
        "bad": "red",
        "undone": "yellow",
        "busy": "cyan",
        "quiet": "bright_black",
        "name": "bold",
        "link": "underline",
    }
)
PIPE_WIDTH = 120  # columns when nobody looks: a log or a pipe has no width of its own


def console(*, stderr: bool = False) -> Console:
    """A console over the stream as it is now (tests and pipes replace them)."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, theme=THEME, width=width, highlight=False, soft_wrap=False)


def show(value: Any, as_json: bool, render: Callable[[], RenderableType]) -> None:
    """Print a result: `value` as JSON, or what `render` makes of it for people."""
    if as_json:
        print_json(value)
    else:
        console().print(render())


def print_json(value: Any) -> None:
    """JSON for scripts: indented for a terminal, one line for a pipe."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_line(value: Any) -> None:
    """One line of JSON, wherever it goes."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_error(error: CliError, as_json: bool) -> None:
    """Say on stderr what is wrong and what to do."""
    if as_json:
        sys.stderr.write(json.dumps(error.to_json(), ensure_ascii=False, default=str) + "\n")
        return
    shown = console(stderr=True)
    shown.print("[bad]error:[/] ", end="")
    shown.print(error.what, markup=False, soft_wrap=True)
    if error.do:
        shown.print(f"  {error.do}", markup=False, soft_wrap=True, style="quiet")
