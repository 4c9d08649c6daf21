"""`amends dev`: your saga and participants in one process, reloaded whenever a file is saved."""

import os
import sys
import time
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from amends_orchestrator.cli import output
from amends_orchestrator.cli.exits import CliError, Exit

if TYPE_CHECKING:
    from amends_orchestrator.cli.machine import Machine

LOOK_S = 0.25
SKIPPED = frozenset({".amends", ".git", ".venv", "venv", "__pycache__", "node_modules"})
Seen = Mapping[Path, int]


def dev(
    path: Annotated[Path, typer.Argument(help="A folder or a .py file.")] = Path(),
    *,
    port: Annotated[
        int | None,
        typer.Option("--port", help="Port of the page (else a free one).", min=1, max=65535),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Run a folder's plans and participants in one process; reload on save.

    A real Postgres, the broker within the process. Edited plans get a new version by themselves.
    """
    from amends_orchestrator.cli.machine import Machine
    from amends_orchestrator.cli.up import ended, signals_raise

    if not path.exists():
        raise CliError(f"There is no {path}.", exit_code=Exit.USAGE)
    shown = output.console(stderr=True)
    watched = path if path.is_dir() else path.parent
    machine = Machine(
        folder=Path.cwd(),
        example=None,
        port=port,
        embedded=True,
        with_key=False,
        code=(str(path),),
    )
    with signals_raise(), ended(machine, shown):
        seen = snapshot(watched)
        with shown.status("start Postgres", spinner="dots"):
            machine.start_servers()
        machine.start_programs()
        ready = _await_ready(machine, shown)
        if open_page and ready and sys.stdout.isatty() and "DISPLAY" in os.environ:
            webbrowser.open(machine.page_url)
        while True:
            time.sleep(LOOK_S)
            now = snapshot(watched)
            if now != seen:
                changed = ", ".join(
                    sorted(str(p.relative_to(watched)) for p in _changed(seen, now))
                )
                shown.print(f"[quiet]{changed} changed[/]")
                seen = now
                machine.restart("orchestrator")
                _await_ready(machine, shown)


def _await_ready(machine: "Machine", shown: Console) -> bool:
    """Say where the page is, or what is wrong with the code; the next save tries again."""
    try:
        machine.wait_ready()
    except CliError:
        machine.hold("orchestrator")
        log = machine.log_of("orchestrator").read_text()
        shown.print(_last_words(log), markup=False, highlight=False, soft_wrap=True)
        shown.print("[quiet]waiting for a change[/]")
        return False
    machine.write_up()
    shown.print(f"[ok]ready[/]  page [link]{machine.page_url}[/]  REST {machine.api_url}")
    return True


def snapshot(folder: Path) -> Seen:
    """Every file that counts, with the time it was last changed."""
    return {file: stamp for file in _files(folder) if (stamp := _stamp(file)) is not None}


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if entry.name not in SKIPPED and not entry.name.startswith("."):
                yield from _files(entry)
        elif entry.suffix in {".py", ".sql", ".json", ".yaml", ".yml"}:
            yield entry


def _stamp(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None  # an editor that replaces files


def _changed(before: Seen, after: Seen) -> set[Path]:
    return {file for file, _ in before.items() ^ after.items()}


def _last_words(log: str) -> str:
    """What the process said last of its own accord; the log lines before it are noise."""
    at = log.rfind("error: ")
    return log[at:].rstrip() if at >= 0 else "\n".join(log.splitlines()[-15:])
