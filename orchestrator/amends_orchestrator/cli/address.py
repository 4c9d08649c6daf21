"""Where the service is: --url, AMENDS_API_URL, or `.amends/up.json` here or in a folder above."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends_orchestrator.cli.exits import CliError, Exit

UP_FOLDER = ".amends"
UP_FILE = "up.json"


@dataclass(frozen=True, slots=True)
class Address:
    """A service's address and the key to it."""

    url: str
    key: str | None = field(repr=False)
    source: str
    """What named it, for errors: `--url`, `AMENDS_API_URL` or the path of an up.json."""


def find_up(start: Path | None = None) -> tuple[Path, dict[str, Any]] | None:
    """The nearest `.amends/up.json` upward from `start`, with its content."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / UP_FOLDER / UP_FILE
        if file.is_file():
            try:
                return file, json.loads(file.read_text())
            except ValueError as error:
                raise CliError(
                    f"{file} is not JSON: {error}",
                    "Remove it, or run `amends up` again.",
                    exit_code=Exit.USAGE,
                ) from error
    return None


def find_service(url: str | None) -> Address:
    """The service to talk to; CliError (unreachable) when nothing names one."""
    key = os.environ.get("AMENDS_API_KEY") or None
    named = url or os.environ.get("AMENDS_API_URL")
    if named:
        return Address(named.rstrip("/"), key, "--url" if url else "AMENDS_API_URL")
    up = find_up()
    if up is None:
        raise CliError(
            "No Amends service is known here.",
            "Run `amends up` in this folder or above, or give --url or AMENDS_API_URL.",
            exit_code=Exit.UNREACHABLE,
        )
    file, content = up
    return Address(str(content["api_url"]).rstrip("/"), key or content.get("api_key"), str(file))


def find_database(given: str | None) -> str:
    """The orchestrator's database: --database-url, AMENDS_DATABASE_URL, or up.json."""
    return _find_url(given, "AMENDS_DATABASE_URL", "database_url", "--database-url", "database")


def find_broker(given: str | None) -> str | None:
    """The broker's URL, or None where the in-process transport is used (up.json says null)."""
    found = given or os.environ.get("AMENDS_BROKER_URL")
    if found:
        return found
    up = find_up()
    return up[1].get("broker_url") if up else None


def _find_url(given: str | None, env: str, member: str, option: str, what: str) -> str:
    found = given or os.environ.get(env)
    if not found and (up := find_up()):
        found = up[1].get(member)
    if not found:
        raise CliError(
            f"No {what} is known here.",
            f"Give {option}, set {env}, or run `amends up` in this folder or above.",
            exit_code=Exit.UNREACHABLE,
        )
    return found
