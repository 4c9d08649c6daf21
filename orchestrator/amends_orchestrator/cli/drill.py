"""`amends drill`: prove the undo of a saga with the participants that really run."""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from amends_orchestrator.cli import drill_options, options, output
from amends_orchestrator.cli.address import find_database, find_up
from amends_orchestrator.cli.exits import CliError, Exit

RUN: Final = "run"
_AGE: Final = re.compile(r"(\d+)([dhm])")
_UNIT_S: Final = {"d": 86_400, "h": 3_600, "m": 60}
AGE_DEFAULT: Final = "30d"


class _Drills(TyperGroup):
    """`amends drill book-trip` is `amends drill run book-trip`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args = [RUN, *args]
        return super().parse_args(ctx, args)


drills = typer.Typer(help="Prove that undo works.", no_args_is_help=True, cls=_Drills)


@drills.command()
def run(
    target: drill_options.Target,
    *,
    input_: drill_options.Input = None,
    against: drill_options.Against = None,
    invariant: drill_options.InvariantFiles = None,
    sandbox: drill_options.Sandbox = None,
    step: drill_options.Steps = None,
    fault: drill_options.Faults = None,
    timeout_s: drill_options.TimeoutS = None,
    min_coverage: drill_options.MinCoverage = None,
    junit: drill_options.JunitFile = None,
    html: drill_options.HtmlFile = None,
    fresh: drill_options.Fresh = False,
    brief: drill_options.Brief = False,
    prefix: drill_options.Prefix = "amends",
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Let everything go wrong at every step, and look whether all is undone. `run` may be left out.

    Embedded, a folder's participants run in this process. With --against, those that run behind a
    broker are drilled, where they take part in drills (docs/drills.md).

    A run that was interrupted is gone on with.
    """
    from amends_orchestrator.cli import drill_source
    from amends_orchestrator.cli.drill_screen import Screen, summary
    from amends_orchestrator.drills import reports

    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("amends_participants").setLevel(logging.CRITICAL)
    given = drill_source.Given(
        target=target,
        input=tuple(input_ or ()),
        invariants=tuple(invariant or ()),
        sandbox=options.read_pairs(sandbox or (), "--sandbox"),
        steps=tuple(step or ()),
        faults=tuple(map(str, fault or ())),
        timeout_s=timeout_s,
        fresh=fresh,
        prefix=os.environ.get("AMENDS_PREFIX", prefix),
    )
    screen = Screen(output.console(stderr=True))
    screen.open()
    try:
        if against is None:
            whole = drill_source.run_embedded(given, screen)
        else:
            whole = drill_source.run_against(given, against, find_database(database_url), screen)
    finally:
        screen.close()
    _write(whole, junit, html)
    output.show(whole, as_json, lambda: summary(whole))
    if brief:
        output.print_line(reports.brief(whole))
    short = min_coverage is not None and whole["coverage"] < min_coverage
    if short and not as_json:
        output.console(stderr=True).print(
            f"[bad]coverage is {whole['coverage']} %, {min_coverage:g} % is asked for[/]"
        )
    if short or not reports.is_ok(whole):
        raise typer.Exit(Exit.REFUSED)


def _write(whole: Any, junit: Path | None, html: Path | None) -> None:
    from amends_orchestrator.drills import reports

    if junit is not None:
        junit.write_text(reports.junit(whole), encoding="utf-8")
    if html is not None:
        html.write_text(reports.html(whole), encoding="utf-8")


@drills.command()
def history(
    definition: Annotated[str | None, typer.Argument(help="Only of this definition.")] = None,
    *,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Runs of drills, newest first, and when each undo was last proven."""
    from amends_orchestrator.cli import drill_source

    found = _on_record(database_url, lambda url: drill_source.history(url, definition))
    output.show(found, as_json, lambda: _history(found))


@drills.command()
def gate(
    definition: Annotated[str, typer.Argument(help="The definition.")],
    *,
    min_coverage: Annotated[
        float, typer.Option("--min-coverage", help="So many percent must pass.", min=0, max=100)
    ] = 95.0,
    max_age: Annotated[
        str, typer.Option("--max-age", help="And have been tried within (30d, 12h, 90m).")
    ] = AGE_DEFAULT,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Whether a definition's drills are good and recent enough to deploy; exit code 1 if not."""
    from amends_orchestrator.cli import drill_source

    age_s = _age(max_age)
    found = _on_record(database_url, lambda url: drill_source.gate(url, definition, age_s))
    found |= {"min_coverage": min_coverage, "max_age": max_age}
    found["ok"] = found["coverage"] >= min_coverage
    output.show(found, as_json, lambda: _gate(found))
    if not found["ok"]:
        raise typer.Exit(Exit.REFUSED)


def _on_record(given: str | None, ask: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    """Where the record is: the database given or known, else that of embedded drills here."""
    from amends_orchestrator.cli import drill_run

    known = given or os.environ.get("AMENDS_DATABASE_URL")
    if known or not drill_run.HOME.is_dir():
        if not known and find_up() is None:
            raise CliError(
                "There is no record of drills here.",
                "Run `amends drill` in this folder, or give --database-url.",
                exit_code=Exit.NOT_FOUND,
            )
        return asyncio.run(ask(find_database(given)))
    with drill_run.home_server(output.console(stderr=True).print) as url:
        return asyncio.run(ask(url))


def _age(text: str) -> float:
    found = _AGE.fullmatch(text)
    if found is None:
        raise CliError(
            f"--max-age: {text!r} is no age.", "For example: 30d, 12h, 90m.", exit_code=Exit.USAGE
        )
    return int(found[1]) * _UNIT_S[found[2]]


def _history(found: Any) -> Table:
    table = Table.grid(padding=(0, 2))
    for run_ in found["runs"]:
        state = run_["began_at"][:16].replace("T", " ")
        counts = Text.assemble(
            (f"{run_['pass']} pass", "ok"),
            ", ",
            (f"{run_['fail']} fail", "bad" if run_["fail"] else "quiet"),
            ", ",
            (f"{run_['inconclusive']} inconclusive", "quiet"),
        )
        over = "" if run_["status"] == "over" else "interrupted"
        table.add_row(Text(run_["definition"], "name"), state, counts, Text(over, "undone"))
    table.add_row("")
    _add_proofs(table, found["proofs"])
    return table


def _add_proofs(table: Table, proofs: Sequence[Any]) -> None:
    for proof in proofs:
        times = f"{proof['times']} times"
        undo = Text.assemble((proof["definition"], "name"), f": undo of {proof['step']}")
        table.add_row(undo, f"last proven {proof['said']}", Text(times, "quiet"))


def _gate(found: Any) -> Text:
    look = "ok" if found["ok"] else "bad"
    lines = Text.assemble(
        ("✔ " if found["ok"] else "✘ ", look),
        (found["definition"], "name"),
        f": {found['coverage']} % of {found['cells']} cells passed within {found['max_age']}"
        f" ({found['min_coverage']:g} % asked for)",
    )
    for cell in found["lacking"]:
        lines.append(f"\n  {cell['step'] or 'saga'} x {cell['fault']}: {cell['why']}", "quiet")
    return lines
