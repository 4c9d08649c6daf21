"""`amends up`: everything on this machine, in the foreground, until Ctrl-C or SIGTERM."""

import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.example import find_example
from amends_orchestrator.cli.exits import Exit

TRY = "amends start book-trip -i traveller=ada -i to=Lisbon -i nights=2 -i email=a@b.c --wait"

if TYPE_CHECKING:
    from amends_orchestrator.cli.machine import Machine
    from amends_orchestrator.cli.supervisor import Event

POLL_S = 0.2


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM: what runs is ended, wherever we are."""


def up(
    example: Annotated[
        str, typer.Option("--example", help="Whose participants to run: trip or none.")
    ] = "trip",
    *,
    port: Annotated[
        int | None,
        typer.Option("--port", help="Port of REST and page (else a free one).", min=1, max=65535),
    ] = None,
    orchestrators: Annotated[
        int, typer.Option("--orchestrators", help="How many orchestrators.", min=1, max=16)
    ] = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the data in .amends/data for the next time.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Run everything on this machine: database, broker, orchestrator, page, participants.

    Writes .amends/up.json with addresses, key and pids, so that the other commands find it from
    here and from the folders below. Ends all it started on Ctrl-C.
    """
    from amends_orchestrator.cli.machine import Machine

    shown = output.console(stderr=True)
    machine = Machine(
        folder=Path.cwd(),
        example=find_example(example),
        port=port,
        orchestrators=orchestrators,
        keep=keep,
    )
    with signals_raise(), ended(machine, shown):
        with shown.status("start", spinner="dots") as status:
            machine.say = status.update
            began = time.monotonic()
            machine.start()
        if as_json:
            output.print_json({"up": str(machine.up_file), "api_url": machine.api_url})
        else:
            output.console().print(summary(machine, time.monotonic() - began))
        look_after(machine, shown)


def look_after(machine: "Machine", shown: Console) -> None:
    """Restart what dies and say so, until a signal comes."""
    while True:
        report(machine.poll(), machine, shown)
        time.sleep(POLL_S)


def report(events: "Sequence[Event]", machine: "Machine", shown: Console) -> None:
    """Say which children died and which run again."""
    for event in events:
        shown.print(_said(event, machine), soft_wrap=True)


@contextmanager
def ended(machine: "Machine", shown: Console) -> Generator[None]:
    """End the machine however the block ends; a signal is a good end."""
    try:
        yield
    except Interrupted:
        shown.print("[quiet]ending[/]")
        raise typer.Exit(Exit.OK) from None
    finally:
        with signals_ignored():
            machine.end()


@contextmanager
def signals_raise() -> Generator[None]:
    """SIGINT and SIGTERM (and a closed terminal) as `Interrupted`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Interrupted

    with _handlers(interrupt):
        yield


@contextmanager
def signals_ignored() -> Generator[None]:
    """A second Ctrl-C must not leave half of it running."""
    with _handlers(signal.SIG_IGN):
        yield


Handler = Callable[[int, FrameType | None], object] | int


@contextmanager
def _handlers(handler: Handler) -> Generator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def summary(machine: "Machine", took_s: float) -> Group:
    """What runs where, and what to do next."""
    lines = Table(box=None, pad_edge=False, show_header=False)
    lines.add_column(style="name")
    lines.add_column(style="quiet", justify="right")
    lines.add_column()
    where = machine.where()
    for name, pid in machine.pids().items():
        lines.add_row(name, str(pid), where.get(name, ""))
    said = [f"up in {took_s:.1f} s · page {machine.page_url} · logs {machine.home / 'logs'}"]
    if machine.api_key:
        said.append(f"the page's key: {machine.api_key}")
    if machine.example:
        said.append(f"try: {TRY}")
    said.append("Ctrl-C ends it all" + ("" if machine.keep else ", and its data"))
    return Group(lines, *(Text(line, "quiet", no_wrap=True, overflow="ignore") for line in said))


def _said(event: "Event", machine: "Machine") -> str:
    if event.died:
        log = machine.log_of(event.name)
        when = f"in {event.pause_s:g} s · {log}" if event.pause_s else "now"
        return f"[bad]{event.name} died[/], starts again {when}"
    return f"[ok]{event.name} runs again[/]"
