"""`amends demo`: book-trip three times, each shown as a tree."""

import sys
from typing import Annotated

import typer

from amends_orchestrator.cli import options
from amends_orchestrator.cli.exits import CliError, Exit

DEMO = "book-trip"


def demo(
    name: Annotated[str, typer.Argument(help="Which demo; there is one: book-trip.")] = DEMO,
    *,
    stay: Annotated[
        bool | None,
        typer.Option("--stay/--no-stay", help="Leave the page running (default: on a terminal)."),
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="In one process, as where there is no RabbitMQ.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Run book-trip three times: success, undone, killed and resumed. Needs no Docker, no key.

    On a terminal it leaves the page running, with buttons that make things fail.
    """
    if name != DEMO:
        raise CliError(f"There is no demo {name!r}.", f"There is: {DEMO}.", exit_code=Exit.USAGE)
    from amends_orchestrator.cli.demo_acts import play

    on_terminal = sys.stdout.isatty() and not as_json
    play(stay=on_terminal if stay is None else stay, embedded=embedded, as_json=as_json)
