"""Changing sagas over REST: what reaches the engine, what is refused, what is kept."""

from typing import Any

import httpx
import pytest

from amends_contracts.messages import Outcome, Undo
from amends_contracts.names import StepPath
from amends_contracts.problems import FieldError, ProblemType
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import (
    CancelRequested,
    Input,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    SuspendRequested,
)
from api.fakes import PAST_PIVOT, World

FLIGHT = StepPath("legs[2].flight")
CHANGES: list[tuple[str, dict[str, Any], Input]] = [
    ("cancel", {"reason": "r"}, CancelRequested(reason="r", by="local")),
    ("suspend", {"reason": "r"}, SuspendRequested(reason="r", by="local")),
    ("resume", {"reason": "r"}, ResumeRequested(reason="r", by="local")),
    ("retry", {"step": FLIGHT, "reason": "r"}, RetryRequested(path=FLIGHT, reason="r", by="local")),
    (
        "skip",
        {"step": FLIGHT, "reason": "r", "owner": "ada", "evidence": "ticket 7"},
        SkipRequested(path=FLIGHT, reason="r", by="local", owner="ada", evidence="ticket 7"),
    ),
    (
        "resolve",
        {"step": FLIGHT, "reason": "r", "outcome": "succeeded", "output": {"code": "A1"}},
        ResolveRequested(
            path=FLIGHT, reason="r", by="local", outcome=Outcome.SUCCEEDED, output={"code": "A1"}
        ),
    ),
]


@pytest.mark.parametrize(("action", "body", "message"), CHANGES, ids=[c[0] for c in CHANGES])
async def test_a_change_reaches_the_engine_and_the_audit(
    client: httpx.AsyncClient, world: World, action: str, body: dict[str, Any], message: Input
) -> None:
    """The engine gets the message with who and why, and the audit keeps it."""
    made = world.add(1)
    response = await client.post(f"/v1/sagas/{made}/{action}", json=body)
    assert response.status_code == 200
    status = "compensating" if action == "cancel" else "running"
    assert response.json() == {"saga_id": made, "status": status}
    assert world.submitted == [("default", made, message)]
    [row] = world.audit_rows
    assert (row["action"], row["reason"], row["outcome"]) == (action, "r", "done")
    assert row["step"] == body.get("step")


async def test_a_refused_change_is_audited_too(client: httpx.AsyncClient, world: World) -> None:
    """409 with the type; the record says who tried."""
    made = world.add(1)
    world.refusal = PAST_PIVOT
    response = await client.post(f"/v1/sagas/{made}/cancel", json={"reason": "too late"})
    assert (response.status_code, response.json()["type"]) == (409, "amends:past-pivot")
    assert [row["outcome"] for row in world.audit_rows] == ["amends:past-pivot"]


async def test_repeating_a_change_is_no_refusal(client: httpx.AsyncClient, world: World) -> None:
    """What is so already is answered with the status as it is."""
    made = world.add(1)
    world.refusal = Refused(type=ProblemType.WRONG_STATE, detail="is so", duplicate=True)
    response = await client.post(f"/v1/sagas/{made}/suspend", json={"reason": "again"})
    assert (response.status_code, response.json()["status"]) == (200, "running")


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("cancel", {}, "/reason"),
        ("cancel", {"reason": "  "}, "/reason"),
        ("cancel", {"reason": "x" * 1001}, "/reason"),
        ("retry", {"reason": "r"}, "/step"),
        ("retry", {"reason": "r", "step": "Flight!"}, "/step"),
        ("skip", {"reason": "r", "step": "flight"}, "/owner"),
        ("resolve", {"reason": "r", "step": "flight", "outcome": "unknown"}, "/outcome"),
        ("resolve", {"reason": "r", "step": "f", "outcome": "failed", "output": 1}, "/output"),
    ],
)
async def test_a_change_that_lacks_something_is_refused(
    client: httpx.AsyncClient, world: World, action: str, body: dict[str, Any], field: str
) -> None:
    """422 names the field, and nothing reaches the engine."""
    response = await client.post(f"/v1/sagas/{world.add(1)}/{action}", json=body)
    assert response.status_code == 422
    assert [error["path"] for error in response.json()["errors"]] == [field]
    assert world.submitted == []


async def test_a_late_undo_is_answered_with_the_undo_saga(
    client: httpx.AsyncClient, world: World
) -> None:
    """201 with its id, the same again 200; the audit has it under the original."""
    made = world.add(1)
    body = {"reason": "r", "across_pivot": True}
    first = await client.post(f"/v1/sagas/{made}/undo", json=body)
    assert first.status_code == 201
    undo = first.json()["saga_id"]
    assert (first.json(), first.headers["Location"]) == (
        {"saga_id": undo, "created": True},
        f"/v1/sagas/{undo}",
    )
    again = await client.post(f"/v1/sagas/{made}/undo", json=body)
    assert (again.status_code, again.json()) == (200, {"saga_id": undo, "created": False})
    assert world.undos == [(Undo(saga_id=made, reason="r", across_pivot=True), undo)]
    assert {(row["action"], row["saga_id"]) for row in world.audit_rows} == {("undo", made)}
    kinds = {i["saga_id"]: i["kind"] for i in (await client.get("/v1/sagas")).json()["items"]}
    assert kinds == {made: "saga", undo: "undo"}


async def test_a_refused_undo_lists_what_would_stay(
    client: httpx.AsyncClient, world: World
) -> None:
    """409 past the pivot, with the steps; audited as refused."""
    made = world.add(1)
    stays = FieldError(path="/steps/mail", reason="it cannot be taken back and would stay")
    world.refusal = Refused(type=ProblemType.PAST_PIVOT, detail="past", errors=(stays,))
    response = await client.post(f"/v1/sagas/{made}/undo", json={"reason": "r"})
    assert response.status_code == 409
    assert [e["path"] for e in response.json()["errors"]] == ["/steps/mail"]
    assert [row["outcome"] for row in world.audit_rows] == ["amends:past-pivot"]
