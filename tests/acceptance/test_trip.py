"""Booking a trip over real processes: it succeeds, and each of its steps fails."""

import uuid
from typing import Any

import httpx
import pytest

from acceptance.world import ALL_ONCE, NOTHING, World
from amends_orchestrator.cli.exits import CliError
from amends_orchestrator.cli.rest import Rest

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def statuses(world: World, saga_id: str) -> dict[str, str]:
    """Step paths and their statuses, the four actions only."""
    steps = world.show(saga_id)["steps"]
    return {s["path"]: s["status"] for s in steps if s["kind"] == "action"}


def test_a_trip_is_booked_once(world: World) -> None:
    """One seat, one room, one charge, one mail, and the output says which."""
    saga_id = world.start(to="Lisbon", nights=3)

    view = world.end_of(saga_id)

    assert view["status"] == "completed"
    assert view["output"]["seat"].startswith("LIS-")
    assert view["output"]["receipt"].startswith("R-")
    assert world.held(saga_id) == ALL_ONCE


def test_the_same_start_again_is_the_same_saga(world: World) -> None:
    """A client that does not know whether it was heard asks again."""
    body = {
        "definition": "book-trip",
        "key": "asked-twice",
        "input": {"traveller": "ada", "to": "Oslo", "nights": 1, "email": "ada@example.com"},
    }

    first, second = (world.steadily(lambda rest: rest.post("/v1/sagas", body)) for _ in range(2))

    assert (first["created"], second["created"]) == (True, False)
    assert first["saga_id"] == second["saga_id"]
    world.end_of(first["saga_id"])


@pytest.mark.parametrize(
    ("changes", "failed", "reason"),
    [
        ({"to": "Nowhere"}, "flight", "sold-out"),
        ({"to": "Venice"}, "hotel", "sold-out"),
        ({"traveller": "broke"}, "payment", "declined"),
    ],
    ids=["flight", "hotel", "payment"],
)
def test_a_step_that_fails_undoes_those_before_it(
    world: World, changes: dict[str, str], failed: str, reason: str
) -> None:
    """Whatever fails up to the pivot, nothing is held afterwards, and the failure is kept."""
    saga_id = world.start(**changes)

    view = world.end_of(saga_id)

    assert view["status"] == "compensated"
    assert world.held(saga_id) == NOTHING
    assert statuses(world, saga_id)[failed] == "failed"
    assert reason in str(view["failure"])
    assert view["held"] == []


def test_a_mail_that_cannot_be_sent_waits_for_an_operator(world: World) -> None:
    """After the pivot nothing is undone: the saga is stuck until somebody resolves the step."""
    saga_id = world.start(email="nobody")
    assert world.end_of(saga_id)["status"] == "stuck"
    assert world.held(saga_id) == ALL_ONCE | {"mail": 0}

    body = {"step": "mail", "outcome": "succeeded", "output": {"message_id": "by-hand"}}
    world.steadily(
        lambda rest: rest.post(f"/v1/sagas/{saga_id}/resolve", body | {"reason": "called her"})
    )

    assert world.end_of(saga_id)["status"] == "completed"


def test_cancel_is_refused_past_the_pivot(world: World) -> None:
    """What was paid for is not taken back by a cancel."""
    saga_id = world.start(email="nobody")
    world.end_of(saga_id)

    address = world.machine.address
    answer = httpx.post(
        f"{address.url}/v1/sagas/{saga_id}/cancel",
        json={"reason": "changed my mind"},
        headers={"Authorization": f"Bearer {address.key}"},
    )

    assert (answer.status_code, answer.json()["type"]) == (409, "amends:past-pivot")


def test_a_retryable_failure_succeeds_at_the_second_attempt(world: World) -> None:
    """The mail server greylists: it says no once, and yes to the same key afterwards."""
    saga_id = world.start(email=f"{world.machine.folder.name}@greylist.example")

    assert world.end_of(saga_id)["status"] == "completed"
    assert world.step(saga_id, "mail")["attempt"] == 2
    assert world.held(saga_id) == ALL_ONCE


def test_a_start_that_does_not_fit_names_the_field(world: World) -> None:
    """Nothing is started, and the caller knows why."""
    address = world.machine.address
    answer = httpx.post(
        f"{address.url}/v1/sagas",
        json={"definition": "book-trip", "key": "bad", "input": {"traveller": "ada", "nights": 0}},
        headers={"Authorization": f"Bearer {address.key}"},
    )

    assert answer.status_code == 422
    assert "nights" in answer.text


def test_a_completed_trip_is_undone_by_a_saga_of_its_own(world: World) -> None:
    """Across its pivot, because it is asked for so; the mail has been read, and stays."""
    saga_id = world.start(to="Oslo")
    assert world.end_of(saga_id)["status"] == "completed"
    undo = f"/v1/sagas/{saga_id}/undo"
    with pytest.raises(CliError) as refused, Rest(world.machine.address) as rest:
        rest.post(undo, {"reason": "she called"})
    assert refused.value.problem is not None
    assert [error["path"] for error in refused.value.problem["errors"]] == ["/steps/mail"]

    body = {"reason": "she called", "across_pivot": True}
    answers = [world.steadily(lambda rest: rest.post(undo, body)) for _ in range(2)]

    undo_id = answers[0]["saga_id"]
    assert answers == [
        {"saga_id": undo_id, "created": True},
        {"saga_id": undo_id, "created": False},
    ]
    view = world.end_of(undo_id)
    assert (view["status"], view["kind"], view["undoes"]) == ("compensated", "undo", saga_id)
    assert [item["path"] for item in view["residue"]] == ["mail"]
    assert world.held(saga_id) == NOTHING | {"mail": 1}
    original = world.show(saga_id)
    assert (original["status"], original["undone_by"]) == ("completed", undo_id)


def test_a_trip_as_a_child_is_booked_failed_and_undone_as_one_unit(world: World) -> None:
    """Over the real broker: its end is its parent's reply, its undo a late one."""
    trip = {"traveller": "ada", "nights": 2, "email": "ada@example.com"}
    step = {
        "kind": "saga",
        "id": "trip",
        "definition": "book-trip",
        "input": {**trip, "to": "${ input.to }"},
    }
    output = {"seat": "${ steps.trip.output.seat }"}
    parent = {"name": "holiday", "version": 1, "steps": [step], "output": output}
    world.steadily(lambda rest: rest.post("/v1/definitions", parent))

    def holiday(to: str) -> tuple[str, dict[str, Any], str]:
        body = {"definition": "holiday", "key": f"k-{uuid.uuid4()}", "input": {"to": to}}
        saga_id = str(world.steadily(lambda rest: rest.post("/v1/sagas", body))["saga_id"])
        view = world.end_of(saga_id)
        return saga_id, view, str(world.step(saga_id, "trip")["child"]["saga_id"])

    _, failed, lost = holiday("Venice")
    assert (failed["status"], failed["failure"]["type"]) == ("compensated", "sold-out")
    assert (world.show(lost)["status"], world.held(lost)) == ("compensated", NOTHING)

    saga_id, booked, child = holiday("Oslo")
    assert booked["status"] == "completed"
    assert booked["output"]["seat"].startswith("OSL-")
    assert world.show(child)["parent"] == {"saga_id": saga_id, "step": "trip"}
    assert world.held(child) == ALL_ONCE

    asked = {"reason": "she called"}
    undo = world.steadily(lambda rest: rest.post(f"/v1/sagas/{saga_id}/undo", asked))
    assert world.end_of(undo["saga_id"])["status"] == "compensated"
    assert world.held(child) == NOTHING | {"mail": 1}
