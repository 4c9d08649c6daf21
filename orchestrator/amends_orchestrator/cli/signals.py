"""Handing an event to a saga, by its id or by definition and key."""

import secrets
from typing import Annotated, Any

import typer

from amends_orchestrator.cli import options, output, saga_list
from amends_orchestrator.cli.acting import resolved
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.rest import Rest, saga_path


def signal(
    event: Annotated[str, typer.Argument(help="The event's name, as a step awaits it.")],
    saga_id: Annotated[
        str | None,
        typer.Argument(help="A saga's id, or `last` for the newest.", show_default=False),
    ] = None,
    *,
    definition: Annotated[
        str | None,
        typer.Option("--definition", "-d", help="In place of an id: the saga's definition …"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", "-k", help="… and key; the saga need not be there yet."),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="The signal's id: the same id is the same signal."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="The event's data, like --input of start."),
    ] = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Send a saga an event that one of its steps awaits, now or later."""
    by_key = definition is not None and key is not None
    if by_key == (saga_id is not None) or (definition is None) != (key is None):
        raise CliError(
            "Which saga? Give its id, or --definition and --key.",
            "For example: amends signal paid last --data usd=7",
            exit_code=Exit.USAGE,
        )
    body: dict[str, Any] = {"event": event, "id": id_ or f"cli-{secrets.token_hex(5)}"}
    if data:
        body["data"] = options.read_object(data, "--data")
    with Rest(find_service(url)) as rest:
        if saga_id is not None:
            path = saga_path(resolved(rest, saga_id), "/signal")
        else:
            path, body = "/v1/signals", {**body, "definition": definition, "key": key}
        answer = rest.post(path, body)
    if answer.get("kept"):
        said = f"{event} is kept for seven days, for the saga of {definition} with key {key}"
        output.show(answer, as_json, lambda: said)
        return
    output.show(answer, as_json, lambda: saga_list.acted(f"sent {event}", "", answer))
