"""Definitions over REST, and what the service says of itself."""

import httpx

from amends_contracts.problems import FieldError
from api.fakes import Debt, Instance, World

YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json; charset=utf-8"}


async def test_a_definition_is_registered_once(client: httpx.AsyncClient, world: World) -> None:
    """201, then 200 for the same, 409 for another content under the same version."""
    first = await client.post("/v1/definitions", content="name: book-trip", headers=YAML)
    assert first.status_code == 201
    assert first.headers["location"] == "/v1/definitions/book-trip/1"
    again = await client.post("/v1/definitions", content="name: book-trip", headers=YAML)
    assert (again.status_code, again.json()) == (200, first.json())
    other = await client.post("/v1/definitions", content='{"name": "x"}', headers=JSON)
    assert (other.status_code, other.json()["type"]) == (409, "amends:version-conflict")
    outcomes = [(r["action"], r["subject"], r["outcome"]) for r in world.audit_rows]
    assert outcomes == [
        ("register", "book-trip@1", "done"),
        ("register", "book-trip@1", "done"),
        ("register", "book-trip@1", "amends:version-conflict"),
    ]


async def test_a_definition_that_cannot_work_is_explained(
    client: httpx.AsyncClient, world: World
) -> None:
    """422 with path, reason, remedy and line of each place."""
    wrong = FieldError(path="/steps/0/command", reason="nobody serves it", remedy="x", line=7)
    world.wrong = (wrong,)
    response = await client.post("/v1/definitions", content="name: x", headers=YAML)
    assert (response.status_code, response.json()["type"]) == (422, "amends:bad-definition")
    assert response.json()["errors"] == [
        {"path": "/steps/0/command", "reason": "nobody serves it", "remedy": "x", "line": 7}
    ]


async def test_a_definition_in_another_encoding_is_refused(client: httpx.AsyncClient) -> None:
    """Only UTF-8 is read."""
    response = await client.post("/v1/definitions", content=b"\xff\xfen", headers=YAML)
    assert response.status_code == 400


async def test_definitions_are_read_and_listed(client: httpx.AsyncClient) -> None:
    """The newest of each, all versions of one, one with its document; 404 for what is not there."""
    await client.post("/v1/definitions", content="name: book-trip", headers=YAML)
    for path in ("/v1/definitions", "/v1/definitions/book-trip"):
        page = (await client.get(path)).json()
        assert [(i["name"], i["version"]) for i in page["items"]] == [("book-trip", 1)]
        assert page["next"] is None
    one = (await client.get("/v1/definitions/book-trip/1")).json()
    assert one["document"]["name"] == "book-trip"
    for path in ("/v1/definitions/other", "/v1/definitions/book-trip/2"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/v1/definitions/book-trip/0")).status_code == 422


async def test_participants_are_shown_as_they_said_hello(
    client: httpx.AsyncClient, world: World
) -> None:
    """One item per instance, with what is optional filled in."""
    world.instances = [Instance("flights", "f-1", {"commands": {"flights.reserve": {}}})]
    [item] = (await client.get("/v1/participants")).json()["items"]
    assert (item["service"], item["instance"]) == ("flights", "f-1")
    assert (item["commands"], item["accepts"]) == ({"flights.reserve": {}}, [])


async def test_readiness_names_what_is_missing(client: httpx.AsyncClient, world: World) -> None:
    """Alive is not ready: 503 with the check that fails."""
    assert (await client.get("/readyz")).json()["status"] == "ready"
    world.ready = False
    world.failure = OSError("gone")
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {"engine": False, "database": False}
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_metrics_are_the_engines_numbers(client: httpx.AsyncClient) -> None:
    """Counters with their labels, gauges with their units in the name."""
    text = (await client.get("/metrics")).text.splitlines()
    assert 'amends_refused_total{reason="amends:wrong-state"} 3.0' in text
    assert 'amends_commands_returned_total{service="hotels"} 7.0' in text
    assert "amends_partitions_owned 3.0" in text
    assert "amends_wake_lag_seconds 0.25" in text


async def test_a_version_is_retired_once_and_for_good(
    client: httpx.AsyncClient, world: World
) -> None:
    """Shown wherever it is listed; again is no change; what is not there is 404."""
    await client.post("/v1/definitions", content="name: book-trip", headers=YAML)
    retired = await client.post("/v1/definitions/book-trip/1/retire", json={"reason": "old"})
    assert (retired.status_code, retired.json()["retired_at"]) == (200, "2026-01-05T09:30:00Z")
    again = await client.post("/v1/definitions/book-trip/1/retire", json={"reason": "old"})
    assert (again.status_code, again.json()) == (200, retired.json())
    [item] = (await client.get("/v1/definitions/book-trip")).json()["items"]
    assert (item["retired_at"], item["debt"]) == (
        "2026-01-05T09:30:00Z",
        {"open": 0, "undoable": 0},
    )
    other = await client.post("/v1/definitions/book-trip/2/retire", json={"reason": "old"})
    assert other.status_code == 404


async def test_a_version_that_is_needed_is_not_retired(
    client: httpx.AsyncClient, world: World
) -> None:
    """The refusal says why, and the audit knows who tried."""
    await client.post("/v1/definitions", content="name: book-trip", headers=YAML)
    world.audit_rows.clear()
    world.owes = Debt(open=2, undoable=1)
    refused = await client.post("/v1/definitions/book-trip/1/retire", json={"reason": "old"})
    assert (refused.status_code, refused.json()["type"]) == (409, "amends:undo-debt")
    assert refused.json()["detail"] == (
        "book-trip@1 has 2 sagas that did not end yet"
        " and 1 completed saga whose undo window is open."
    )
    [row] = world.audit_rows
    assert (row["action"], row["subject"], row["reason"], row["outcome"]) == (
        "retire",
        "book-trip@1",
        "old",
        "amends:undo-debt",
    )
    assert (await client.get("/v1/definitions/book-trip/1")).json()["retired_at"] is None
