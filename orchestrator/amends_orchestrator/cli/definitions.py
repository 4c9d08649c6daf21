"""Commands on definitions: register one with a service, verify one offline."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.exits import Exit
from amends_orchestrator.cli.rest import Rest

if TYPE_CHECKING:
    from amends_orchestrator.cli.plan_source import Source

FileOrPlan = Annotated[
    str, typer.Argument(help="A .json, .yaml or .py file, or `module:plan`.", metavar="FILE")
]


def register(file: FileOrPlan, *, url: options.Url = None, as_json: options.Json = False) -> None:
    """Register a definition; the same content again is no change."""
    from amends_orchestrator.cli.plan_source import load

    source = load(file)
    with Rest(find_service(url)) as rest:
        answer = rest.post("/v1/definitions", source.document)
    output.show(answer, as_json, lambda: _registered(source))


def verify(file: FileOrPlan, *, as_json: options.Json = False) -> None:
    """Check a definition without a service: can it work, and can it be undone?

    Exit code 0 if it can, 1 with findings, 2 if the file cannot be read.
    """
    from amends_orchestrator.cli.plan_source import load

    source = load(file)
    findings = source.verify()
    result = {
        "name": source.definition.name,
        "version": source.definition.version,
        "ok": not findings,
        "errors": [f.model_dump(mode="json", exclude_none=True) for f in findings],
    }
    output.show(result, as_json, lambda: _verified(source))
    if findings:
        raise typer.Exit(Exit.REFUSED)


def _registered(source: "Source") -> Text:
    return Text.assemble((f"{source.title} ", "name"), ("registered", "ok"))


def _verified(source: "Source") -> Group:
    lines = [Text.assemble((source.title, "name"), ("  can work", "ok"))]
    findings = source.verify()
    if findings:
        lines = [Text.assemble((source.title, "name"), (f"  {len(findings)} to mend", "bad"))]
    for finding in findings:
        place = f"{finding.file}:{finding.line}" if finding.line else finding.path or "/"
        lines.append(Text.assemble(("  " + place, "name"), f"  {finding.reason}"))
        if finding.remedy:
            lines.append(Text(f"      {finding.remedy}", "quiet"))
    return Group(*lines)
