"""REST over the real engine and Postgres: from the definition to the audit."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from amends_contracts.names import Op
from api.fakes import client_of
from api.real import TRIP, Real, real
from engine.scripted import failed, silent, succeeded

YAML = {"Content-Type": "application/yaml"}
START: dict[str, Any] = {"definition": "book-trip", "key": "order-1", "input": {"to": "Oslo"}}


@pytest.fixture
async def service(migrated_database_url: str) -> AsyncGenerator[Real]:
    """The service over a database of its own."""
    async with real(migrated_database_url) as made:
        made.participants.on("flights.reserve", succeeded(code="7C"))
        yield made


@pytest.fixture
async def client(service: Real) -> AsyncGenerator[httpx.AsyncClient]:
    """A client on the same machine, with the trip registered."""
    async with client_of(service.app) as made:
        made.timeout = httpx.Timeout(60)
        response = await made.post("/v1/definitions", json=TRIP)
        assert response.status_code == 201, response.text
        yield made


async def started(client: httpx.AsyncClient, **more: Any) -> str:
    """A new saga's id."""
    response = await client.post("/v1/sagas", json={**START, **more})
    assert response.status_code == 201, response.text
    return response.json()["saga_id"]


def steps(view: Any) -> dict[str, str]:
    """Statuses by path."""
    return {step["path"]: step["status"] for step in view["steps"]}


async def test_a_saga_runs_to_its_end(client: httpx.AsyncClient) -> None:
    """Started, awaited, read: with its output, its labels, its nested steps."""
    saga_id = await started(client)
    view = (await client.get(f"/v1/sagas/{saga_id}?wait=30")).json()
    assert (view["status"], view["output"]) == ("completed", {"seat": "7C"})
    assert view["labels"] == {"to": "Oslo"}
    assert steps(view)["pay"] == "succeeded"
    assert [node["path"] for node in view["tree"]] == ["book", "wrap", "pay"]
    assert [child["branch"] for child in view["tree"][0]["children"]] == ["flight", "hotel"]
    assert view["tree"][1]["children"][0]["chosen"] is False
    again = await client.post("/v1/sagas", json=START)
    assert (again.status_code, again.json()) == (200, {"saga_id": saga_id, "created": False})
    other = await client.post("/v1/sagas", json={**START, "input": {"to": "Rome"}})
    assert (other.status_code, other.json()["type"]) == (409, "amends:key-conflict")
    page = (await client.get("/v1/sagas?status=completed&label.to=Oslo")).json()
    assert [item["saga_id"] for item in page["items"]] == [saga_id]
    journal = (await client.get(f"/v1/sagas/{saga_id}/journal?limit=1000")).json()
    assert [row["seq"] for row in journal["items"]] == list(range(1, len(journal["items"]) + 1))


async def test_a_failure_is_undone_and_explained(client: httpx.AsyncClient, service: Real) -> None:
    """The failed step, what was taken back, and why, to the end."""
    service.participants.on("payments.charge", failed("card-declined"))
    saga_id = await started(client)
    view = (await client.get(f"/v1/sagas/{saga_id}?wait=30")).json()
    assert view["status"] == "compensated"
    assert steps(view)["flight"] == steps(view)["hotel"] == "compensated"
    assert view["failure"]["step"] == "pay"
    assert (view["held"], view["residue"]) == ([], [])


async def test_an_operator_helps_a_stuck_saga(client: httpx.AsyncClient, service: Real) -> None:
    """An undo that fails waits, shown; skip leaves residue with its owner, and the audit knows."""
    service.participants.on("payments.charge", failed("card-declined"))
    service.participants.on("flights.reserve", failed("no-way"), Op.COMPENSATION)
    saga_id = await started(client)
    path = f"/v1/sagas/{saga_id}"
    view: Any = {}
    while view.get("status") != "stuck":
        view = (await client.get(f"{path}?wait=1")).json()
    assert steps(view)["flight"] == "compensation_failed"
    plan = (await client.get(f"{path}/undo-plan")).json()["items"]
    assert [(item["path"], item["order"]) for item in plan] == [("flight", 1)]
    wrong = await client.post(f"{path}/retry", json={"step": "mail", "reason": "r"})
    assert wrong.status_code in {404, 409}
    body = {"step": "flight", "reason": "airline called", "owner": "ada"}
    assert (await client.post(f"{path}/skip", json=body)).status_code == 200
    view = (await client.get(f"{path}?wait=30")).json()
    assert view["status"] == "compensated"
    [left] = view["residue"]
    assert (left["path"], left["owner"]) == ("flight", "ada")
    late = await client.post(f"{path}/cancel", json={"reason": "r"})
    assert late.status_code == 409
    rows = await service.audit.list("default")
    shown = [(r.action, r.step, r.reason, r.outcome) for r in rows if r.saga_id == saga_id]
    assert shown[1] == ("skip", "flight", "airline called", "done")
    assert shown[0][0] == "cancel"
    assert shown[0][3].startswith("amends:")


async def test_a_running_saga_is_suspended_resumed_and_cancelled(
    client: httpx.AsyncClient, service: Real
) -> None:
    """Each change shows in the saga at once."""
    service.participants.on("payments.charge", silent)
    saga_id = await started(client)
    path = f"/v1/sagas/{saga_id}"
    for action, status in (
        ("suspend", "suspended"),
        ("resume", "running"),
        ("cancel", "compensating"),
    ):
        response = await client.post(f"{path}/{action}", json={"reason": "r"})
        assert (response.status_code, response.json()["status"]) == (200, status), action
    assert (await client.get(path)).json()["failure"]["type"] == "amends:cancelled"


async def test_what_does_not_fit_is_refused_with_its_field(client: httpx.AsyncClient) -> None:
    """An input against the schema, a definition that is not there, a document that cannot work."""
    wrong = await client.post("/v1/sagas", json={**START, "key": "k", "input": {"to": 7}})
    assert (wrong.status_code, wrong.json()["type"]) == (422, "amends:bad-request")
    assert wrong.json()["errors"][0]["path"].endswith("/to")
    missing = await client.post("/v1/sagas", json={**START, "definition": "other"})
    assert (missing.status_code, missing.json()["type"]) == (404, "amends:not-found")
    assert (await client.post("/v1/definitions", json=TRIP)).status_code == 200
    changed = await client.post("/v1/definitions", json={**TRIP, "deadline": "PT1H"})
    assert (changed.status_code, changed.json()["type"]) == (409, "amends:version-conflict")
    broken = json.loads(json.dumps(TRIP).replace("input.to", "steps.pay.output.x"))
    response = await client.post("/v1/definitions", json={**broken, "version": 2})
    assert (response.status_code, response.json()["type"]) == (422, "amends:bad-definition")
    assert response.json()["errors"][0]["path"].startswith("/steps/")
    beyond = await client.post("/v1/definitions", json={**TRIP, "version": 2**31})
    assert (beyond.status_code, beyond.json()["type"]) == (422, "amends:bad-definition")
    assert beyond.json()["errors"][0]["path"] == "/version"


@pytest.mark.parametrize("text", ["/etc/secret.yaml", "a: &a [*a]", "{", "- 1", "name: [", ""])
async def test_a_text_that_is_no_definition_is_refused(
    client: httpx.AsyncClient, text: str
) -> None:
    """Rubbish, recursion and names of files alike: 422, and no file is read."""
    response = await client.post("/v1/definitions", content=text, headers=YAML)
    assert (response.status_code, response.json()["type"]) == (422, "amends:bad-definition")
    assert "No such file" not in response.text


async def test_tenants_are_strangers_to_each_other(
    client: httpx.AsyncClient, service: Real
) -> None:
    """The same key starts a saga in each tenant; neither sees, awaits or cancels the other's."""
    keys = {t: await service.keys.create(f"of {t}", t, "operator") for t in ("a", "b")}
    # The service believed for some seconds that there are no keys.
    service.app.state.guard.forget()
    async with (
        client_of(service.app, key=keys["a"]) as a,
        client_of(service.app, key=keys["b"]) as b,
    ):
        first, second = await started(a), await started(b)
        assert first != second
        for reader, own, foreign in ((a, first, second), (b, second, first)):
            page = (await reader.get("/v1/sagas")).json()
            assert [item["saga_id"] for item in page["items"]] == [own]
            for rest in ("", "?wait=5", "/journal", "/undo-plan"):
                assert (await reader.get(f"/v1/sagas/{foreign}{rest}")).status_code == 404
            body = {"reason": "r"}
            answer = await reader.post(f"/v1/sagas/{foreign}/cancel", json=body)
            assert answer.status_code == 404
        assert (await a.post("/v1/definitions", json=TRIP)).status_code == 403


async def test_the_service_is_ready_and_counted(client: httpx.AsyncClient) -> None:
    """Readiness by engine and database; metrics from the engine itself."""
    assert (await client.get("/readyz")).json() == {
        "status": "ready",
        "checks": {"engine": True, "database": True},
    }
    text = (await client.get("/metrics")).text
    assert "amends_partitions 16.0" in text
    assert (await client.get("/v1/participants")).json()["items"] == []


async def test_versions_run_beside_each_other_until_the_old_one_can_go(
    client: httpx.AsyncClient, service: Real
) -> None:
    """Each saga under its own; the old version is retired when its last saga has ended."""
    service.participants.on("hotels.book", silent)
    old = await started(client, key="old")
    second = {**TRIP, "version": 2, "steps": [TRIP["steps"][2]], "output": {"from": 2}}
    assert (await client.post("/v1/definitions", json=second)).status_code == 201
    new = await started(client, key="new")
    view = (await client.get(f"/v1/sagas/{new}?wait=30")).json()
    assert (view["status"], view["version"], view["output"]) == ("completed", 2, {"from": 2})

    path, why = "/v1/definitions/book-trip/1/retire", {"reason": "2 is out"}
    refused = await client.post(path, json=why)
    assert (refused.status_code, refused.json()["type"]) == (409, "amends:undo-debt")
    assert refused.json()["detail"] == "book-trip@1 has 1 saga that did not end yet."
    await client.post(f"/v1/sagas/{old}/cancel", json={"reason": "no hotel"})
    view = (await client.get(f"/v1/sagas/{old}?wait=30")).json()
    assert (view["status"], view["version"]) == ("compensated", 1)
    retired = await client.post(path, json=why)
    assert retired.status_code == 200, retired.text

    late = await client.post("/v1/sagas", json={**START, "key": "late", "version": 1})
    assert (late.status_code, late.json()["type"]) == (409, "amends:retired")
    again = await client.post("/v1/sagas", json={**START, "key": "old", "version": 1})
    assert (again.status_code, again.json()) == (200, {"saga_id": old, "created": False})
    items = (await client.get("/v1/definitions/book-trip")).json()["items"]
    shown = [(i["version"], i["retired_at"] is not None, i["debt"]) for i in items]
    nothing = {"open": 0, "undoable": 0}
    assert shown == [(2, False, nothing), (1, True, nothing)]
