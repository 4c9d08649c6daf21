"""Commands on definitions: verify one offline; register, list and retire them with a service."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli import options, output, saga_list
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.exits import CliError, Exit
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


def definitions(
    name: Annotated[
        str | None, typer.Argument(help="All versions of this one; else the newest of each.")
    ] = None,
    *,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List registered definitions; of one by NAME all versions, with the sagas that hold them."""
    with Rest(find_service(url)) as rest:
        path = "/v1/definitions" if name is None else f"/v1/definitions/{quote(name, safe='')}"
        answer = rest.get(path)
    output.show(answer, as_json, lambda: _listed(answer["items"], debts=name is not None))


def retire(
    version: Annotated[str, typer.Argument(help="The version to retire.", metavar="NAME@VERSION")],
    *,
    reason: options.Reason,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Let a version take no new starts. What runs under it runs to its end.

    Refused (exit code 1) while sagas of it have not ended, or completed ones may still be undone.
    """
    name, at, number = version.partition("@")
    if not at or not number.isdecimal():
        raise CliError(
            f"{version!r} names no version.", "For example: book-trip@1", exit_code=Exit.USAGE
        )
    with Rest(find_service(url)) as rest:
        path = f"/v1/definitions/{quote(name, safe='')}/{number}/retire"
        answer = rest.post(path, {"reason": reason})
    said = (" takes no new starts", "ok")
    output.show(answer, as_json, lambda: Text.assemble((version, "name"), said))


def _listed(items: Sequence[Mapping[str, Any]], *, debts: bool) -> RenderableType:
    if not items:
        return Text("No definitions.", "quiet")
    lines = Table(box=None, pad_edge=False, header_style="quiet")
    for title in ("definition", "registered", "", *(("open", "undoable") if debts else ())):
        lines.add_column(title, justify="right" if title in ("open", "undoable") else "left")
    for item in items:
        retired = Text("retired", "quiet") if item.get("retired_at") else Text("takes starts", "ok")
        cells: list[RenderableType] = [
            Text(f"{item['name']}@{item['version']}", "name"),
            saga_list.ago(item["registered_at"]),
            retired,
        ]
        debt = item.get("debt")
        if debts and debt:
            cells += [str(debt["open"]), str(debt["undoable"])]
        lines.add_row(*cells)
    return lines


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
