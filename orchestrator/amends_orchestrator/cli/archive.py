"""`amends archive`: sagas that are over go to a file, and leave the database."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.address import find_database
from amends_orchestrator.cli.exits import CliError, Exit

if TYPE_CHECKING:
    from amends_orchestrator.cli.archive_run import Tally


def archive(
    folder: Annotated[Path, typer.Argument(help="Where the file goes; made if it is not there.")],
    *,
    older_than: Annotated[
        str, typer.Option("--older-than", help="How long ago they ended: 30d, 12h, P30D.")
    ] = "30d",
    definition: Annotated[
        str | None, typer.Option("--definition", help="Only those of one definition.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Only those of one tenant.")
    ] = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Write sagas that ended long ago to a file (JSON lines, gzip), and delete them.

    A saga that is archived is not shown any more and cannot be undone late. Its participants are
    told that they may forget it; its start key is kept for 30 days more. Sagas that are not over
    stay, and so do those whose undo is under way, and children of sagas that stay. Safe to end and
    to repeat, beside the running service. Needs its AMENDS_PREFIX, if it has one.
    """
    from amends_contracts.topology import Topology
    from amends_orchestrator.cli.archive_run import archive as run

    age = _age(older_than)
    url = find_database(database_url)
    with output.console(stderr=True).status("archiving", spinner_style="busy") as shown:
        tally = asyncio.run(
            run(
                url,
                folder,
                older_than_s=age.total_seconds(),
                definition=definition,
                tenant=tenant,
                topology=Topology(os.environ.get("AMENDS_PREFIX", "amends")),
                progress=lambda tally: shown.update(f"archived {tally.sagas} sagas"),
            )
        )
    result = {
        "sagas": tally.sagas,
        "journal_rows": tally.rows,
        "start_keys_deleted": tally.keys,
        "file": None if tally.file is None else str(tally.file),
    }
    output.show(result, as_json, lambda: _said(tally, older_than))


def _age(text: str) -> timedelta:
    from amends_contracts.definition import parse_duration
    from amends_contracts.plan import PlanError
    from amends_contracts.plan.values import span

    try:
        return parse_duration(span(text))
    except PlanError as error:
        raise CliError(
            f"--older-than: {text!r} is no duration.",
            "For example: --older-than 30d",
            exit_code=Exit.USAGE,
        ) from error


def _said(tally: "Tally", older_than: str) -> Text | Group:
    if tally.file is None:
        return Text(
            f"Nothing to archive: no saga that may go ended over {older_than} ago.", "quiet"
        )
    return Group(
        Text(f"archived {tally.sagas} sagas with {tally.rows} journal rows", "ok"),
        Text(f"  {tally.file}", "name"),
        Text(f"  to look: zcat {tally.file} | head -1", "quiet"),
    )
