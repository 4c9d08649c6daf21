"""`amends draw`: a definition as a picture, from a file or from the service."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from amends_contracts.definition import Definition
from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.exits import CliError, Exit

_NAME: Final = re.compile(r"(?P<name>[a-z][a-z0-9_-]*)(?:@(?P<version>[1-9]\d*))?")


class Format(StrEnum):
    """What a picture is written as."""

    MERMAID = "mermaid"
    SVG = "svg"


Drawn = Annotated[
    str,
    typer.Argument(
        help="A .json, .yaml or .py file, `module:plan`, or a registered NAME or NAME@VERSION.",
        metavar="FILE|NAME",
    ),
]
As = Annotated[
    Format | None,
    typer.Option(
        "--format", "-f", help="`mermaid` or `svg`; else by the ending of --output, else mermaid."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file to write; else standard output.")
]


def draw(
    what: Drawn,
    *,
    form: As = None,
    to: Output = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Draw a definition: its steps, their undo, and the point of no return.

    SVG is readable in light and dark and needs nothing beside it; Mermaid is rendered by many pages
    that show Markdown.
    """
    from amends_orchestrator.drawing import mermaid, svg

    if form is None:
        form = Format.SVG if to is not None and to.suffix == ".svg" else Format.MERMAID
    definition = _definition(what, url)
    picture = svg(definition) if form is Format.SVG else mermaid(definition)
    if to is not None:
        to.write_text(picture)
    said = {"name": definition.name, "version": definition.version, "format": form.value}
    if as_json:
        output.print_json(said | ({"picture": picture} if to is None else {"file": str(to)}))
    elif to is None:
        typer.echo(picture, nl=False)
    else:
        typer.echo(f"{definition.name}@{definition.version} drawn to {to}")


def _definition(what: str, url: str | None) -> Definition:
    """The definition in a file, or a registered one."""
    name = _NAME.fullmatch(what)
    if name is None:
        from amends_orchestrator.cli.plan_source import load

        return load(what).resolved
    return _registered(name["name"], name["version"], url)


def _registered(name: str, version: str | None, url: str | None) -> Definition:
    from amends_contracts.documents import BadDocument, parse_definition
    from amends_orchestrator.cli.address import find_service
    from amends_orchestrator.cli.rest import Rest

    with Rest(find_service(url)) as rest:
        if version is None:
            version = str(rest.get(f"/v1/definitions/{name}")["items"][0]["version"])
        answer = rest.get(f"/v1/definitions/{name}/{version}")
    try:
        return parse_definition(answer["document"])
    except BadDocument as error:
        raise CliError(
            f"{name}@{version} cannot be read: {error}",
            "It may be of a later release: use the `amends` of the service's release.",
            exit_code=Exit.REFUSED,
        ) from error
