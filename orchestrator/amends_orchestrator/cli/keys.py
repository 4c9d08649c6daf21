"""API keys: made, listed and revoked in the database; only hashes are kept there."""

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.address import find_database
from amends_orchestrator.cli.exits import CliError, Exit


class Scope(StrEnum):
    """What a key may do; the same as the store's, which is slow to load."""

    VIEWER = "viewer"
    STARTER = "starter"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


keys = typer.Typer(help="API keys.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    *,
    scope: Annotated[Scope, typer.Option("--scope", help="What it may do.")] = Scope.STARTER,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose sagas it sees.")] = "default",
    days: Annotated[
        int | None, typer.Option("--days", help="Good for so many days (else for ever).", min=1)
    ] = None,
    broker_user: Annotated[
        str | None, typer.Option("--broker-user", help="A broker user who speaks with it, too.")
    ] = None,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="A role whose reviews it may decide.")
    ] = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Make a key and print it once; only its hash is kept."""
    from amends_orchestrator.cli import keys_store

    if not name.strip():
        raise CliError(
            "A key needs a name.",
            "For example: amends keys create shop --scope starter",
            exit_code=Exit.USAGE,
        )
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    url = find_database(database_url)
    plaintext = asyncio.run(
        keys_store.create(url, name, tenant, scope, expires_at, broker_user, roles or ())
    )
    made = {"name": name, "tenant": tenant, "scope": str(scope), "key": plaintext}
    output.show(made, as_json, lambda: _made(made))


@keys.command("list")
def list_(*, database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """List the keys, without the keys themselves."""
    from amends_orchestrator.cli import keys_store

    found = asyncio.run(keys_store.listed(find_database(database_url)))
    output.show({"items": found}, as_json, lambda: _table(found))


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name or prefix.")],
    *,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Revoke a key; it is refused from now on."""
    from amends_orchestrator.cli import keys_store

    if not asyncio.run(keys_store.revoke(find_database(database_url), name)):
        raise CliError(f"There is no key {name!r}.", "amends keys list", exit_code=Exit.NOT_FOUND)
    output.show({"name": name, "revoked": True}, as_json, lambda: Text(f"revoked {name}", "ok"))


def _made(made: dict[str, str]) -> Group:
    return Group(
        Text.assemble((made["key"], "name")),
        Text(f"  {made['scope']} of tenant {made['tenant']}; it is not shown again", "quiet"),
        Text(f"  export AMENDS_API_KEY={made['key']}", "quiet"),
    )


def _table(found: list[dict[str, Any]]) -> Table | Text:
    if not found:
        return Text("No keys. `amends keys create NAME` makes one.", "quiet")
    columns = ("name", "tenant", "scope", "prefix", "created", "expires")
    lines = Table(*columns, box=None, pad_edge=False, header_style="quiet")
    for key in found:
        expires = (key["expires_at"] or "never")[:10]
        fixed = (key["name"], key["tenant"], key["scope"], key["prefix"])
        lines.add_row(*fixed, key["created_at"][:10], expires)
    return lines
