"""Child sagas over REST, the real engine and Postgres: shown, stuck, cancelled, killed midway."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from amends_contracts.messages import Json
from amends_contracts.names import Op
from api.fakes import client_of
from api.real import Real, action, real
from engine.scripted import failed, silent, succeeded

STAY: Json = {
    "name": "stay",
    "version": 1,
    "interrupt_after": "PT0.1S",
    "steps": [action("room", "hotels.book"), action("note", "mail.card")],
    "output": {"room": "${ steps.room.output.n }"},
}
ORDER: Json = {
    "name": "order",
    "version": 1,
    "interrupt_after": "PT0.1S",
    "steps": [
        action("flight", "flights.reserve"),
        {"kind": "saga", "id": "stay", "definition": "stay"},
    ],
    "output": {"room": "${ steps.stay.output.room }"},
}


@pytest.fixture
async def service(migrated_database_url: str) -> AsyncGenerator[Real]:
    """The service over a database of its own."""
    async with real(migrated_database_url) as made:
        made.participants.on("hotels.book", succeeded(n=7))
        yield made


@pytest.fixture
async def client(service: Real) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with parent and child registered."""
    async with client_of(service.app) as made:
        made.timeout = httpx.Timeout(60)
        for document in (STAY, ORDER):
            response = await made.post("/v1/definitions", json=document)
            assert response.status_code == 201, response.text
        yield made


async def started(client: httpx.AsyncClient, key: str = "o-1") -> str:
    """A parent."""
    body: dict[str, Any] = {"definition": "order", "key": key, "input": {}}
    return str((await client.post("/v1/sagas", json=body)).json()["saga_id"])


async def ended(client: httpx.AsyncClient, saga_id: str) -> Any:
    """The saga at its end."""
    return (await client.get(f"/v1/sagas/{saga_id}?wait=30")).json()


async def shown(client: httpx.AsyncClient, saga_id: str, holds: Callable[[Any], bool]) -> Any:
    """The step that runs the child, once it looks so."""
    async with asyncio.timeout(30):
        while True:
            view = (await client.get(f"/v1/sagas/{saga_id}")).json()
            step = next(step for step in view["steps"] if step["path"] == "stay")
            if holds(step):
                return step
            await asyncio.sleep(0.02)


async def test_parent_and_child_show_each_other(client: httpx.AsyncClient) -> None:
    """The child's output is the step's; both name the other."""
    view = await ended(client, await started(client))
    assert (view["status"], view["output"]) == ("completed", {"room": 7})
    step = view["steps"][1]
    assert (step["kind"], step["child"]["status"]) == ("saga", "completed")
    child = (await client.get(f"/v1/sagas/{step['child']['saga_id']}")).json()
    assert child["parent"] == {"saga_id": view["saga_id"], "step": "stay"}
    page = await client.get(f"/console/sagas/{view['saga_id']}")
    assert f"{child['saga_id']} (completed)" in page.text


async def test_a_stuck_child_is_shown_at_its_parents_step(
    client: httpx.AsyncClient, service: Real
) -> None:
    """The parent waits, and tells for which saga; an operator helps that one."""
    service.participants.on("mail.card", failed("no-paper"))
    service.participants.on("hotels.book", failed("never"), Op.COMPENSATION)
    saga_id = await started(client)
    step = await shown(client, saga_id, lambda s: s.get("child", {}).get("status") == "stuck")
    assert step["status"] == "running"
    body = {"step": "room", "reason": "paid in cash", "owner": "ada"}
    child = step["child"]["saga_id"]
    assert (await client.post(f"/v1/sagas/{child}/skip", json=body)).status_code == 200
    view = await ended(client, saga_id)
    assert (view["status"], view["failure"]["type"]) == ("compensated", "no-paper")


async def test_parents_are_cancelled_while_their_children_run(
    client: httpx.AsyncClient, service: Real
) -> None:
    """At any moment of twenty: whatever the child came to, nothing is held afterwards."""

    async def race(n: int) -> tuple[str, str | None]:
        saga_id = await started(client, f"race-{n}")
        await asyncio.sleep(0.005 * n)
        body = {"reason": "changed my mind"}
        answer = await client.post(f"/v1/sagas/{saga_id}/cancel", json=body)
        view = await ended(client, saga_id)
        if answer.status_code == 200 and view["status"] == "compensated":
            child = view["steps"][1].get("child", {}).get("saga_id")
            return "compensated", child
        assert answer.status_code == 409
        return view["status"], None

    ends = await asyncio.gather(*(race(n) for n in range(20)))
    assert "compensated" in {status for status, _ in ends}
    applied: dict[str, int] = {}
    for command in service.participants.seen:
        key = str(command.compensates or command.key)
        applied[key] = applied.get(key, 0) + (1 if command.op is Op.ACTION else -1)
    for status, child in ends:
        if child is not None:
            left = {key: n for key, n in applied.items() if key.startswith(child) and n > 0}
            assert left == {}, (status, left)


async def test_a_child_at_work_is_turned_back_with_its_parent(
    client: httpx.AsyncClient, service: Real
) -> None:
    """Its open command is awaited for `interrupt_after`, then undone as unknown."""
    service.participants.on("hotels.book", silent)
    saga_id = await started(client)
    step = await shown(client, saga_id, lambda s: s.get("child", {}).get("status") == "running")
    await client.post(f"/v1/sagas/{saga_id}/cancel", json={"reason": "r"})
    assert (await ended(client, saga_id))["status"] == "compensated"
    child = (await client.get(f"/v1/sagas/{step['child']['saga_id']}")).json()
    assert child["status"] == "compensated"
    assert child["failure"]["type"] == "amends:cancelled"
