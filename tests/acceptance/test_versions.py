"""Two versions of a definition over real processes: each saga ends under its own, then one goes."""

from typing import Any

import httpx
import pytest

from acceptance.world import World

pytestmark = [pytest.mark.servers, pytest.mark.slow]

FLIGHT: dict[str, Any] = {
    "kind": "action",
    "id": "flight",
    "command": "flights.reserve",
    "input": {"traveller": "${ input.traveller }", "to": "Lisbon"},
    "pivot": True,
}
MAIL: dict[str, Any] = {
    "kind": "action",
    "id": "mail",
    "command": "mail.send",
    "input": {"to": "nobody", "text": "hello"},
    "retry": {"max_attempts": None},
}


def call(world: World, path: str, body: Any) -> httpx.Response:
    """POST to the service; a refusal is an answer."""
    address = world.machine.address
    headers = {"Authorization": f"Bearer {address.key}"}
    return httpx.post(f"{address.url}/v1/{path}", json=body, headers=headers, timeout=60)


def registered(world: World, version: int, *steps: Any) -> None:
    """A version of `weekend`, whose output is its number."""
    traveller = {"type": "object", "properties": {"traveller": {"type": "string"}}}
    document: dict[str, Any] = {"name": "weekend", "version": version, "input": traveller}
    answer = call(world, "definitions", document | {"output": {"v": version}, "steps": steps})
    assert answer.status_code == 201, answer.text


def started(world: World, key: str, **more: Any) -> httpx.Response:
    """A start by key."""
    body: dict[str, Any] = {"definition": "weekend", "key": key, "input": {"traveller": key}}
    return call(world, "sagas", body | more)


def test_the_old_version_goes_when_its_last_saga_has_ended(world: World) -> None:
    """It is held by a saga that waits for an operator, and takes no starts when it is retired."""
    registered(world, 1, FLIGHT, MAIL)
    old = started(world, "old").json()["saga_id"]
    assert world.end_of(old)["status"] == "stuck"

    registered(world, 2, FLIGHT)
    view = world.end_of(started(world, "new").json()["saga_id"])
    assert (view["status"], view["version"], view["output"]) == ("completed", 2, {"v": 2})

    retire, why = "definitions/weekend/1/retire", {"reason": "2 is out"}
    refused = call(world, retire, why).json()
    assert (refused["type"], refused["detail"]) == (
        "amends:undo-debt",
        "weekend@1 has 1 saga that did not end yet.",
    )
    said = {"step": "mail", "outcome": "succeeded", "output": {"message_id": "by-hand"}}
    assert call(world, f"sagas/{old}/resolve", said | {"reason": "called her"}).status_code < 300
    view = world.end_of(old)
    assert (view["status"], view["version"], view["output"]) == ("completed", 1, {"v": 1})
    assert call(world, retire, why).status_code == 200

    late = started(world, "late", version=1)
    assert (late.status_code, late.json()["type"]) == (409, "amends:retired")
    again = started(world, "old")
    assert (again.status_code, again.json()["saga_id"]) == (200, old)
