"""API keys: made, listed and revoked in the database; only hashes are kept there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli import options, output, schema
from amends_orchestrator.cli.address import find_database
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.store.keys import ApiKeys

SCOPES = ("viewer", "starter", "reviewer", "operator", "admin")
keys = typer.Typer(help="API keys.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    *,
    scope: Annotated[str, typer.Option("--scope", help=", ".join(SCOPES))] = "starter",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose sagas it sees.")] = "default",
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Make a key and print it once; only its hash is kept."""
    if scope not in SCOPES:
        raise CliError(f"--scope {scope!r}: one of {', '.join(SCOPES)}.", exit_code=Exit.USAGE)
    url = find_database(database_url)
    plaintext = asyncio.run(_create(url, name, tenant, scope))
    made = {"name": name, "tenant": tenant, "scope": scope, "key": plaintext}
    output.show(made, as_json, lambda: _made(made))


@keys.command("list")
def list_(*, database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """List the keys, without the keys themselves."""
    found = asyncio.run(_list(find_database(database_url)))
    output.show({"items": found}, as_json, lambda: _table(found))


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    *,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Revoke a key; it is refused from now on."""
    if not asyncio.run(_revoke(find_database(database_url), name)):
        raise CliError(f"There is no key {name!r}.", "amends keys list", exit_code=Exit.NOT_FOUND)
    output.show({"name": name, "revoked": True}, as_json, lambda: Text(f"revoked {name}", "ok"))


@asynccontextmanager
async def _keys(url: str) -> AsyncGenerator[ApiKeys]:
    async with schema.opened(url) as engine:
        yield ApiKeys(engine)


async def _create(url: str, name: str, tenant: str, scope: str) -> str:
    async with _keys(url) as store:
        return await store.create(name, tenant, scope)


async def _list(url: str) -> list[dict[str, Any]]:
    async with _keys(url) as store:
        return [
            {"name": k.name, "tenant": k.tenant, "scope": str(k.scope)} for k in await store.list()
        ]


async def _revoke(url: str, name: str) -> bool:
    async with _keys(url) as store:
        return bool(await store.revoke(name))


def _made(made: dict[str, str]) -> Group:
    return Group(
        Text.assemble((made["key"], "name")),
        Text(f"  {made['scope']} of tenant {made['tenant']}; it is not shown again", "quiet"),
        Text(f"  export AMENDS_API_KEY={made['key']}", "quiet"),
    )


def _table(found: list[dict[str, Any]]) -> Table | Text:
    if not found:
        return Text("No keys. `amends keys create NAME` makes one.", "quiet")
    lines = Table("name", "tenant", "scope", box=None, pad_edge=False, header_style="quiet")
    for key in found:
        lines.add_row(key["name"], key["tenant"], key["scope"])
    return lines
