"""What people and programs are shown: the view and the preview."""

from amends_contracts.messages import Outcome
from amends_orchestrator.core import saga_view, undo_plan
from core.dsl import (
    Scenario,
    action,
    choice,
    definition,
    failed,
    given,
    parallel,
    succeeded,
    unknown,
)

TRIP = definition(
    action("visa"),
    parallel("both", air=[action("flight")], bed=[action("hotel"), action("seat")]),
    action("card", pivot=True),
)


def view(saga: Scenario) -> dict[str, object]:
    """The REST shape."""
    return saga_view(saga.plan, saga.saga, saga.rows).to_json()


def test_a_view_shows_steps_as_list_and_tree_with_what_is_held() -> None:
    """While the saga runs."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded(id=1))
    saga.expect("flights.do").reply(failed("busy", retryable=True))
    shown = saga_view(saga.plan, saga.saga, saga.rows)
    data = shown.to_json()
    assert [(s["path"], s["status"]) for s in data["steps"]] == [
        ("visa", "succeeded"),
        ("both", "retrying"),
        ("flight", "retrying"),
        ("hotel", "running"),
        ("seat", "pending"),
        ("card", "pending"),
    ]
    assert [n["path"] for n in data["tree"]] == ["visa", "both", "card"]
    assert [c["branch"] for c in data["tree"][1]["children"]] == ["air", "bed", "bed"]
    assert [h["path"] for h in data["held"]] == ["visa"]
    assert data["steps"][2]["reason"].startswith("tried again at")
    assert data["status"] == "running"


def test_the_original_failure_is_kept_and_shown_to_the_end() -> None:
    """With the whole problem, and each compensation."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("hotels.do").reply(failed("full"))
    saga.expect("flights.do").reply(failed("sold-out"))
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")
    data = saga_view(saga.plan, saga.saga, saga.rows).to_json()
    assert data["failure"]["type"] == "full"
    assert data["failure"]["step"] == "hotel"
    assert data["failure"]["problem"] == {"type": "full"}
    visa = data["steps"][0]
    assert visa["compensation"]["status"] == "compensated"
    assert visa["compensation"]["attempt"] == 1
    assert data["held"] == []
    assert data["ended_at"] is not None


def test_residue_is_shown_with_its_owner() -> None:
    """Who took it over, and why."""
    saga = given(definition(action("flight"), action("card")))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.undo").reply(failed("no"))
    shown = saga_view(saga.plan, saga.saga, saga.rows).to_json()
    assert shown["steps"][0]["reason"] == "waits for an operator"
    assert shown["steps"][0]["compensation"]["problem"] == {"type": "no"}
    saga.skips("flight")
    shown = saga_view(saga.plan, saga.saga, saga.rows).to_json()
    assert shown["residue"] == [
        {
            "path": "flight",
            "command": "flights.do",
            "owner": "ann",
            "reason": "mended",
            "by": "ann",
        }
    ]


def test_a_choice_shows_which_case_was_taken() -> None:
    """The others are not taken."""
    what = definition(choice("way", ("${ true }", [action("a")]), otherwise=[action("b")]))
    saga = given(what)
    data = saga_view(saga.plan, saga.saga, saga.rows).to_json()
    assert [(c["path"], c["chosen"]) for c in data["tree"][0]["children"]] == [
        ("a", True),
        ("b", False),
    ]


def test_the_preview_is_the_exact_order_of_the_undo() -> None:
    """Equal numbers are free of each other; it is what then happens."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(succeeded())
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("seats.do").reply(succeeded())
    items = undo_plan(saga.plan, saga.saga)
    assert [(i.order, i.path, i.command) for i in items if i.path != "card"] == [
        (2, "flight", "flights.undo"),
        (2, "seat", "seats.undo"),
        (3, "hotel", "hotels.undo"),
        (4, "visa", "visas.undo"),
    ]
    assert items[0].path == "card"
    assert "under way" in items[0].why
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("seats.undo").reply(succeeded())
    saga.expect("hotels.undo").reply(succeeded())
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")


def test_the_preview_lists_what_would_stay() -> None:
    """Past the pivot, and what cannot be taken back."""
    saga = given(definition(action("flight"), action("card", pivot=True, reversal="irreversible")))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(succeeded())
    items = [item.to_json() for item in undo_plan(saga.plan, saga.saga)]
    assert [(i["path"], i["residue"]) for i in items] == [("card", True), ("flight", False)]
    assert "past its pivot" in items[1]["why"]


def test_views_of_every_moment_can_be_made() -> None:
    """Also stuck, in doubt, and with an unknown outcome."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(unknown("amends:key-reused"))
    assert view(saga)["status"] == "stuck"
    saga.resolves("visa", Outcome.FAILED)
    assert view(saga)["status"] == "compensated"
