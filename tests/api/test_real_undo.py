"""Late undo over REST, the real engine and Postgres: raced, previewed, its window, its links."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from amends_contracts.names import Op, SagaId
from api.fakes import client_of
from api.real import TRIP, Real, real
from engine.scripted import failed, succeeded

BODY = {"reason": "the customer called"}


@pytest.fixture
async def service(migrated_database_url: str) -> AsyncGenerator[Real]:
    """The service over a database of its own."""
    async with real(migrated_database_url) as made:
        made.participants.on("flights.reserve", succeeded(code="7C"))
        yield made


@pytest.fixture
async def client(service: Real) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with the trip registered."""
    async with client_of(service.app) as made:
        made.timeout = httpx.Timeout(60)
        assert (await made.post("/v1/definitions", json=TRIP)).status_code == 201
        yield made


async def completed(client: httpx.AsyncClient, **more: Any) -> str:
    """A trip that has completed."""
    start = {"definition": "book-trip", "key": "order-1", "input": {"to": "Oslo"}, **more}
    saga_id = (await client.post("/v1/sagas", json=start)).json()["saga_id"]
    assert (await ended(client, saga_id))["status"] == "completed"
    return saga_id


async def ended(client: httpx.AsyncClient, saga_id: str) -> Any:
    """The saga at its end."""
    return (await client.get(f"/v1/sagas/{saga_id}?wait=30")).json()


async def test_ten_ask_at_once_and_one_undo_saga_undoes(
    client: httpx.AsyncClient, service: Real
) -> None:
    """Each is told the same id; each effect is undone once; both sagas name each other."""
    saga_id = await completed(client)
    plan = (await client.get(f"/v1/sagas/{saga_id}/undo-plan")).json()["items"]
    assert [item["path"] for item in plan] == ["pay", "flight", "hotel"]
    asked = [client.post(f"/v1/sagas/{saga_id}/undo", json=BODY) for _ in range(10)]
    answers = await asyncio.gather(*asked)
    assert sorted(a.status_code for a in answers) == [200] * 9 + [201]
    [undo_id] = {a.json()["saga_id"] for a in answers}
    view = await ended(client, undo_id)
    assert (view["status"], view["kind"], view["undoes"]) == ("compensated", "undo", saga_id)
    assert view["labels"] == {"to": "Oslo"}
    assert view["failure"]["type"] == "amends:undo-requested"
    undos = [c.type for c in service.participants.seen if c.op is Op.COMPENSATION]
    assert undos[0] == "payments.charge"
    assert sorted(undos) == ["flights.reserve", "hotels.book", "payments.charge"]
    original = (await client.get(f"/v1/sagas/{saga_id}")).json()
    assert (original["status"], original["undone_by"]) == ("completed", undo_id)
    listed = (await client.get("/v1/sagas?label.to=Oslo")).json()["items"]
    assert {item["saga_id"]: item["kind"] for item in listed} == {saga_id: "saga", undo_id: "undo"}
    page = await client.get(f"/console/sagas/{undo_id}")
    assert page.status_code == 200
    recorded = await service.audit.list("default", saga_id=SagaId(saga_id))
    assert {(row.action, row.outcome) for row in recorded} == {("undo", "done")}


async def test_an_undo_that_is_refused_for_good_waits_for_an_operator(
    client: httpx.AsyncClient, service: Real
) -> None:
    """The undo saga is stuck, not the original; skipping leaves residue with an owner."""
    saga_id = await completed(client)
    service.participants.on("hotels.book", failed("never"), Op.COMPENSATION)
    undo_id = (await client.post(f"/v1/sagas/{saga_id}/undo", json=BODY)).json()["saga_id"]
    async with asyncio.timeout(30):
        while (await client.get(f"/v1/sagas/{undo_id}")).json()["status"] != "stuck":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    skip = {"step": "hotel", "reason": "paid in cash", "owner": "ada"}
    assert (await client.post(f"/v1/sagas/{undo_id}/skip", json=skip)).status_code == 200
    view = await ended(client, undo_id)
    assert view["status"] == "compensated"
    assert [(item["path"], item["owner"]) for item in view["residue"]] == [("hotel", "ada")]


async def test_a_window_that_has_closed_is_named(client: httpx.AsyncClient) -> None:
    """`compensable_for`: shown while it is open, refused when it is over."""
    steps = TRIP["steps"][:1]
    steps = [{**steps[0]["branches"]["flight"][0], "compensable_for": "PT0.2S"}]
    await client.post("/v1/definitions", json={**TRIP, "name": "short", "steps": steps})
    saga_id = await completed(client, definition="short")
    view = (await client.get(f"/v1/sagas/{saga_id}")).json()
    [held] = view["held"]
    [item] = (await client.get(f"/v1/sagas/{saga_id}/undo-plan")).json()["items"]
    assert held["until"] == item["until"]
    await asyncio.sleep(0.3)
    response = await client.post(f"/v1/sagas/{saga_id}/undo", json=BODY)
    assert (response.status_code, response.json()["type"]) == (409, "amends:window-closed")
    assert [error["path"] for error in response.json()["errors"]] == ["/steps/flight"]
