"""Signals over REST: to a saga, or to the one of a definition and key."""

from typing import Any

import httpx
import pytest

from amends_contracts.messages import Signal
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.decision import Refused
from api.fakes import World

EVENT = {"event": "paid", "id": "p-1", "data": {"usd": 7}}
KEYED = {**EVENT, "definition": "book-trip", "key": "order-1"}


async def test_a_signal_reaches_the_engine_once_per_id(
    client: httpx.AsyncClient, world: World
) -> None:
    """The same again is answered as the first time, with the status as it then is."""
    made = world.add(1)
    for _ in range(2):
        response = await client.post(f"/v1/sagas/{made}/signal", json=EVENT)
        assert (response.status_code, response.json()) == (
            200,
            {"saga_id": made, "status": "running"},
        )
    assert world.signals[0] == Signal(saga_id=made, event="paid", id="p-1", data={"usd": 7})
    assert world.audit_rows == []


async def test_a_signal_by_key_reaches_the_saga_that_is_there(
    client: httpx.AsyncClient, world: World
) -> None:
    """Definition and key name it."""
    made = world.add(1)
    response = await client.post("/v1/signals", json=KEYED)
    assert (response.status_code, response.json()["saga_id"]) == (200, made)


async def test_a_signal_for_a_saga_that_is_not_there_is_kept(client: httpx.AsyncClient) -> None:
    """202: it waits for the saga."""
    response = await client.post("/v1/signals", json=KEYED)
    assert (response.status_code, response.json()) == (202, {"kept": True})


async def test_a_signal_for_an_unknown_saga_is_not_found(client: httpx.AsyncClient) -> None:
    """By id nothing can be waited for."""
    nobody = "01976f3e-8a4b-7c1d-9e2f-3a4b5c6d7e8f"
    response = await client.post(f"/v1/sagas/{nobody}/signal", json=EVENT)
    assert (response.status_code, response.json()["type"]) == (404, "amends:not-found")


async def test_a_refused_signal_says_why(client: httpx.AsyncClient, world: World) -> None:
    """409 after the saga's end."""
    made = world.add(1)
    world.refusal = Refused(type=ProblemType.WRONG_STATE, detail="the saga has ended: completed")
    response = await client.post(f"/v1/sagas/{made}/signal", json=EVENT)
    assert response.status_code == 409
    assert response.json()["detail"] == "the saga has ended: completed"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": "paid"}, "/id"),
        ({"id": "p-1"}, "/event"),
        ({**EVENT, "event": "Paid!"}, "/event"),
        ({**EVENT, "dta": 1}, "/dta"),
    ],
)
async def test_a_signal_that_lacks_something_is_refused(
    client: httpx.AsyncClient, world: World, body: dict[str, Any], field: str
) -> None:
    """422 names the field."""
    response = await client.post(f"/v1/sagas/{world.add(1)}/signal", json=body)
    assert [error["path"] for error in response.json()["errors"]] == [field]
    assert world.signals == []
