"""Commands on schedules over REST: add, list, remove."""

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.rest import Rest
from amends_orchestrator.cli.sagas import Labels, definition_and_version

schedules = typer.Typer(help="Starts by the clock.", no_args_is_help=True)


class CatchUp(StrEnum):
    """What is started of the times that were missed; the same as REST's."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@schedules.command()
def add(
    name: Annotated[str, typer.Argument(help="Its name; part of the key of every start.")],
    definition: Annotated[
        str, typer.Argument(help="Name of a registered definition, `name[@version]`.")
    ],
    *,
    cron: Annotated[
        str,
        typer.Option(
            "--cron",
            help="Five fields: minute hour day-of-month month day-of-week, as `30 2 * * *`.",
        ),
    ],
    zone: Annotated[
        str, typer.Option("--zone", help="Time zone of the expression: UTC, Europe/Zurich, …")
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", help="A JSON file, a JSON object, or name=value; repeatable."
        ),
    ] = None,
    label: Labels = None,
    catch_up: Annotated[
        CatchUp,
        typer.Option("--catch-up", help="Times missed while nothing ran: none, the last, or all."),
    ] = CatchUp.LAST,
    catch_up_max: Annotated[
        int, typer.Option("--catch-up-max", help="With `all`: the latest so many.", min=1, max=1000)
    ] = 100,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Start a saga at each time that a cron expression names; once each, whatever crashes."""
    wanted, version = definition_and_version(definition)
    body: dict[str, Any] = {
        "name": name,
        "definition": wanted,
        "cron": cron,
        "zone": zone,
        "input": options.read_object(input_ or [], "--input"),
        "labels": options.read_pairs(label or [], "--label"),
        "catch_up": str(catch_up),
        "catch_up_max": catch_up_max,
    }
    if version is not None:
        body["version"] = version
    with Rest(find_service(url)) as rest:
        added = rest.post("/v1/schedules", body)
    output.show(added, as_json, lambda: _added(added))


@schedules.command("list")
def list_(*, url: options.Url = None, as_json: options.Json = False) -> None:
    """List the schedules, with what each started last and will start next."""
    with Rest(find_service(url)) as rest:
        found = rest.get("/v1/schedules")
    output.show(found, as_json, lambda: _table(found["items"]))


@schedules.command()
def remove(
    name: Annotated[str, typer.Argument(help="A schedule's name.")],
    *,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Start nothing by it any more; sagas that it has started go on."""
    with Rest(find_service(url)) as rest:
        removed = rest.delete(f"/v1/schedules/{quote(name, safe='')}")
    output.show(removed, as_json, lambda: Text(f"removed {name}", "ok"))


def _added(added: dict[str, Any]) -> Text:
    return Text.assemble((f"{added['name']} ", "name"), f"starts next at {added['next_at']}")


def _table(found: list[dict[str, Any]]) -> RenderableType:
    if not found:
        return Text("No schedules. `amends schedule add` makes one.", "quiet")
    columns = ("name", "definition", "cron", "zone", "next", "last", "problem")
    lines = Table(*columns, box=None, pad_edge=False, header_style="quiet")
    for row in found:
        version = "" if row["version"] is None else f"@{row['version']}"
        lines.add_row(
            row["name"],
            f"{row['definition']}{version}",
            row["cron"],
            row["zone"],
            row["next_at"],
            row["last_at"] or "never",
            row["last_problem"] or "",
        )
    return lines
