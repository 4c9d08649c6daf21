"""Signals over REST, the real engine and Postgres: early, twice, raced, late, never fetched."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import httpx
import pytest

from amends_contracts.messages import Json
from api.fakes import client_of
from api.real import Real, action, real

ORDER: Json = {
    "name": "order",
    "version": 1,
    "steps": [
        {
            "id": "both",
            "kind": "parallel",
            "branches": {
                "first": [{"id": "first", "kind": "await", "event": "paid"}],
                "second": [
                    {"id": "second", "kind": "await", "event": "paid", "timeout": "PT0.6S"},
                ],
            },
        },
        action("pay", "payments.charge", input={"a": "${ steps.first.output.n }"}),
    ],
    "output": {"paid": ["${ steps.first.output.n }", "${ steps.second.output.n }"]},
}
KEYED = {"definition": "order", "key": "o-1", "event": "paid"}


@pytest.fixture
async def service(migrated_database_url: str) -> AsyncGenerator[Real]:
    """The service over a database of its own."""
    async with real(migrated_database_url) as made:
        yield made


@pytest.fixture
async def client(service: Real) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with the order registered."""
    async with client_of(service.app) as made:
        made.timeout = httpx.Timeout(60)
        response = await made.post("/v1/definitions", json=ORDER)
        assert response.status_code == 201, response.text
        yield made


async def started(client: httpx.AsyncClient, key: str = "o-1") -> str:
    """A new saga's id."""
    response = await client.post("/v1/sagas", json={"definition": "order", "key": key, "input": {}})
    assert response.status_code == 201, response.text
    return response.json()["saga_id"]


async def ended(client: httpx.AsyncClient, saga_id: str) -> Any:
    """The saga at its end."""
    return (await client.get(f"/v1/sagas/{saga_id}?wait=30")).json()


async def test_signals_before_the_start_satisfy_one_step_each(client: httpx.AsyncClient) -> None:
    """Two came early, one of them twice; the oldest goes to the first step of the plan."""
    for n in (1, 2, 1):
        body = {**KEYED, "id": f"p-{n}", "data": {"n": n}}
        response = await client.post("/v1/signals", json=body)
        assert (response.status_code, response.json()) == (202, {"kept": True})
    view = await ended(client, await started(client))
    assert (view["status"], view["output"]) == ("completed", {"paid": [1, 2]})
    again = await client.post("/v1/signals", json={**KEYED, "id": "p-1", "data": {"n": 1}})
    assert (again.status_code, again.json()["status"]) == (200, "completed")
    late = await client.post("/v1/signals", json={**KEYED, "id": "p-3"})
    assert (late.status_code, late.json()["type"]) == (409, "amends:wrong-state")


async def test_an_event_that_does_not_come_turns_the_saga_back(client: httpx.AsyncClient) -> None:
    """One signal satisfies one of two steps; the other's time is over."""
    saga_id = await started(client)
    sent = {"event": "paid", "id": "p-1", "data": {"n": 1}}
    response = await client.post(f"/v1/sagas/{saga_id}/signal", json=sent)
    assert response.json() == {"saga_id": saga_id, "status": "running"}
    view = await ended(client, saga_id)
    assert (view["status"], view["failure"]["step"]) == ("compensated", "second")
    assert {s["path"]: s["status"] for s in view["steps"]} == {
        "both": "failed",
        "first": "succeeded",
        "second": "failed",
        "pay": "pending",
    }


async def test_starts_signals_and_timeouts_at_the_same_moment(client: httpx.AsyncClient) -> None:
    """Every saga ends one way or the other, by what was decided first; nothing is lost."""

    async def race(n: int) -> str:
        key = f"race-{n}"
        early, late = (_send(client, key, i, delay=0.1 * n * i) for i in (0, 1))
        saga_id, _, _ = await asyncio.gather(started(client, key), early, late)
        return str((await ended(client, saga_id))["status"])

    async with asyncio.timeout(60):
        ends = await asyncio.gather(*(race(n) for n in range(30)))
    assert set(ends) == {"completed", "compensated"}
    assert ends[0] == "completed"


async def _send(client: httpx.AsyncClient, key: str, n: int, *, delay: float) -> None:
    await asyncio.sleep(delay)
    body = {**KEYED, "key": key, "id": f"p-{n}", "data": {"n": n}}
    answers = await asyncio.gather(*(client.post("/v1/signals", json=body) for _ in range(3)))
    assert {a.status_code for a in answers} in ({200}, {202}, {200, 202}, {409})


async def test_what_no_saga_came_for_is_dropped_with_a_row_in_the_audit(
    client: httpx.AsyncClient, service: Real, migrated_database_url: str
) -> None:
    """After seven days; the audit says what it was and who sent it."""
    await client.post("/v1/signals", json={**KEYED, "id": "p-1"})
    connection = await asyncpg.connect(migrated_database_url)
    try:
        await connection.execute("UPDATE amends.signal SET at = at - interval '7 days 1 minute'")
        assert await service.service.store.drop_signals(7 * 86_400) in (0, 1)  # or its own sweep
        assert await connection.fetchval("SELECT count(*) FROM amends.signal") == 0
        [row] = await connection.fetch("SELECT * FROM amends.audit WHERE action = 'signal'")
    finally:
        await connection.close()
    assert (row["who"], row["subject"], row["reason"], row["outcome"]) == (
        "local",
        "order o-1",
        "event paid, id p-1: no saga came for it",
        "amends:expired",
    )


async def test_a_waiting_step_says_for_what(client: httpx.AsyncClient) -> None:
    """The view names the event and until when."""
    saga_id = await started(client)
    view = (await client.get(f"/v1/sagas/{saga_id}")).json()
    first, second = view["tree"][0]["children"]
    assert (first["kind"], first["status"]) == ("await", "running")
    assert first["reason"] == "waits for event paid"
    assert second["reason"].startswith("waits for event paid until ")
    page = await client.get(f"/console/sagas/{saga_id}")
    assert "waits for event paid" in page.text
