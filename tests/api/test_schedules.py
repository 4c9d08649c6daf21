"""Schedules over REST: added once, refused with the field, listed and removed by tenant."""

from typing import Any

import httpx
import pytest

from amends_orchestrator.api.ports import Scope
from api.fakes import Registered, World, app_of, client_of, key_for

NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "definition": "close-books",
    "cron": "30 2 * * *",
    "zone": "Europe/Zurich",
    "input": {"country": "CH"},
}


@pytest.fixture
def world() -> World:
    """A service with one definition."""
    made = World()
    made.registered["close-books", 1] = Registered("close-books", 1, "d", {"name": "close-books"})
    return made


async def test_a_schedule_is_added_once(client: httpx.AsyncClient, world: World) -> None:
    """201 with its next time, 200 for the same, 409 for another under this name."""
    first = await client.post("/v1/schedules", json=NIGHTLY)
    assert first.status_code == 201
    shown = first.json()
    assert (shown["catch_up"], shown["catch_up_max"], shown["last_at"]) == ("last", 100, None)
    assert shown["next_at"].endswith("T01:30:00Z")
    again = await client.post("/v1/schedules", json=NIGHTLY)
    assert (again.status_code, again.json()) == (200, shown)
    other = await client.post("/v1/schedules", json={**NIGHTLY, "cron": "0 3 * * *"})
    assert (other.status_code, other.json()["type"]) == (409, "amends:name-conflict")
    assert (await client.get("/v1/schedules")).json() == {"items": [shown], "next": None}
    assert [row["action"] for row in world.audit_rows] == ["schedule.add", "schedule.add"]


async def test_what_cannot_be_a_schedule_is_refused_with_its_field(
    client: httpx.AsyncClient,
) -> None:
    """By pointer, reason and remedy."""
    wrong = await client.post("/v1/schedules", json={**NIGHTLY, "cron": "61 2 * * *"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"] == [
        {
            "path": "/cron",
            "reason": "minute: '61' is not a number from 0 to 59",
            "remedy": "For example `30 2 * * mon-fri`: minute hour day-of-month month day-of-week",
        }
    ]
    wrong = await client.post("/v1/schedules", json={**NIGHTLY, "zone": "Mars/Olympus"})
    assert wrong.json()["errors"][0]["path"] == "/zone"
    gone = await client.post("/v1/schedules", json={**NIGHTLY, "definition": "gone"})
    assert (gone.status_code, gone.json()["type"]) == (404, "amends:not-found")


async def test_a_removed_schedule_is_gone(client: httpx.AsyncClient) -> None:
    """And can be made anew."""
    await client.post("/v1/schedules", json=NIGHTLY)
    removed = await client.delete("/v1/schedules/nightly")
    assert (removed.status_code, removed.json()["name"]) == (200, "nightly")
    again = await client.delete("/v1/schedules/nightly")
    assert (again.status_code, again.json()["type"]) == (404, "amends:not-found")


async def test_schedules_are_of_a_tenant_and_of_operators(world: World) -> None:
    """Another tenant sees none; a starter may not add one."""
    app = app_of(world)
    async with client_of(app, key=key_for(world, Scope.OPERATOR, "acme")) as acme:
        assert (await acme.post("/v1/schedules", json=NIGHTLY)).status_code == 201
    async with client_of(app, key=key_for(world, Scope.OPERATOR, "other")) as other:
        assert (await other.get("/v1/schedules")).json()["items"] == []
        assert (await other.delete("/v1/schedules/nightly")).status_code == 404
    async with client_of(app, key=key_for(world, Scope.STARTER, "acme")) as starter:
        assert (await starter.post("/v1/schedules", json=NIGHTLY)).status_code == 403
