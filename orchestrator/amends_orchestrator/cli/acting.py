"""Asking something of one saga: how its id is resolved and how the answer is shown."""

import re
from typing import Any

from amends_orchestrator.cli import output, saga_list
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.rest import Rest, saga_path

SAGA_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def act(
    saga_id: str,
    verb: str,
    body: dict[str, Any],
    said: str,
    *,
    url: str | None,
    as_json: bool,
) -> None:
    """Ask for `verb` on a saga and show the answer."""
    with Rest(find_service(url)) as rest:
        wanted = resolved(rest, saga_id)
        answer = rest.post(saga_path(wanted, f"/{verb}"), body)
    result = answer if answer is not None else {"saga_id": wanted}
    output.show(result, as_json, lambda: saga_list.acted(said, wanted, result))


def resolved(rest: Rest, saga_id: str) -> str:
    """`last` means the newest saga; CliError (not found) for what can be no saga's id."""
    if saga_id != "last":
        if not SAGA_ID.fullmatch(saga_id):
            raise CliError(
                f"{saga_id!r} is no saga's id.",
                "`amends list` shows them; `last` is the newest.",
                exit_code=Exit.NOT_FOUND,
            )
        return saga_id
    items = rest.get("/v1/sagas", limit=1)["items"]
    if not items:
        raise CliError(
            "There is no saga yet.", "`amends start` makes one.", exit_code=Exit.NOT_FOUND
        )
    return str(items[0]["saga_id"])
