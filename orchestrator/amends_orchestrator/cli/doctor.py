"""`amends doctor`: looks at everything a service needs, and says what to do about what is wrong."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.exits import Exit
from amends_orchestrator.cli.finding import Finding, Level

LOOKS = {Level.OK: ("✔", "ok"), Level.NOTE: ("!", "undone"), Level.BAD: ("✘", "bad")}


def doctor(
    *,
    database_url: options.DatabaseUrl = None,
    broker_url: Annotated[
        str | None,
        typer.Option("--broker-url", help="RabbitMQ (else AMENDS_BROKER_URL, else up.json)."),
    ] = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Check database, migrations, settings, broker, leases, backlog, dead letters, stuck sagas.

    Each finding says what to do. Exit code 1 if something is wrong.
    """
    from amends_orchestrator.cli.doctor_examine import examine

    findings = asyncio.run(examine(database_url, broker_url, url))
    wrong = [finding for finding in findings if finding.level is Level.BAD]
    result = {"ok": not wrong, "findings": [finding.to_json() for finding in findings]}
    output.show(result, as_json, lambda: _shown(findings))
    if wrong:
        raise typer.Exit(Exit.REFUSED)


def _shown(findings: Sequence[Finding]) -> Group:
    width = max(len(finding.check) for finding in findings)
    lines: list[Text] = []
    for finding in findings:
        mark, style = LOOKS[finding.level]
        line = Text.assemble(
            (mark, style), " ", (finding.check.ljust(width), "name"), "  ", finding.said
        )
        lines.append(line)
        if finding.do:
            lines.append(Text(f"{' ' * (width + 4)}{finding.do}", "quiet"))
    return Group(*lines)
