"""Plans: what is recorded is the document that one would have written by hand."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from amends_contracts.definition import Budget, Guard, Limits
from amends_contracts.documents import dump_definition, parse_definition
from amends_contracts.plan import Plan, forever
from wire.trip import (
    BookHotel,
    ChargeCard,
    FindSeats,
    Leg,
    Receipt,
    ReleaseFlight,
    ReserveFlight,
    Seat,
    SendMail,
    Trip,
)


class Paid(BaseModel):
    """An event's data."""

    amount: float


def steps(plan: Plan[Any]) -> list[dict[str, Any]]:
    """The steps of the document; it is valid, and nothing is lost in its canonical form."""
    assert parse_definition(dump_definition(plan.document())) == plan.document()
    return plan.to_json()["steps"]


def inputs(plan: Plan[Any]) -> list[Any]:
    """The inputs of the top steps."""
    return [step.get("input") for step in steps(plan)]


THE_TRIP: dict[str, Any] = {
    "name": "book-trip",
    "version": 3,
    "input": Trip.model_json_schema(),
    "deadline": "PT2H",
    "labels": ["traveller"],
    "steps": [
        {
            "id": "parallel",
            "kind": "parallel",
            "branches": {
                "flight": [
                    {
                        "id": "flight",
                        "kind": "action",
                        "command": "flights.reserve",
                        "input": {
                            "traveller": "${ input.traveller }",
                            "to": "${ input.to }",
                        },
                        "effect": "transactional",
                        "reversal": "compensatable",
                        "probe": True,
                        "timeout": "PT30S",
                        "retry": {"max_attempts": 5},
                        "compensation": {"command": "flights.reserve"},
                    }
                ],
                "hotel": [
                    {
                        "id": "hotel",
                        "kind": "action",
                        "command": "hotels.book",
                        "input": {"city": "${ input.to }", "nights": "${ input.nights }"},
                        "effect": "transactional",
                        "reversal": "compensatable",
                        "compensation": {"command": "hotels.book"},
                    }
                ],
            },
        },
        {
            "id": "card",
            "kind": "action",
            "command": "payments.charge",
            "input": {
                "usd": "${ steps.flight.output.usd + steps.hotel.output.usd }",
                "memo": "Trip ${ steps.flight.output.code }",
            },
            "effect": "keyed",
            "reversal": "compensatable",
            "pivot": True,
            "compensation": {"command": "payments.charge"},
        },
        {
            "id": "send",
            "kind": "action",
            "command": "mail.send",
            "input": {
                "to": "a@b.c",
                "text": "Seat ${ steps.flight.output.code }, receipt ${ steps.card.output.id }",
            },
            "effect": "keyed",
            "reversal": "irreversible",
            "retry": {"max_attempts": None, "max": "PT5M"},
        },
    ],
    "output": {
        "seat": "${ steps.flight.output.code }",
        "receipt": "${ steps.card.output.id }",
    },
}


def test_the_trip_of_the_readme() -> None:
    """Names of variables become ids; proxies become expressions; commands say their effects."""
    plan = Plan("book-trip", version=3, input=Trip, deadline="2h", labels=["traveller"])
    trip = plan.input
    with plan.parallel():
        flight = plan.do(
            ReserveFlight(traveller=trip.traveller, to=trip.to), timeout="30s", retry=5
        )
        hotel = plan.do(BookHotel(city=trip.to, nights=trip.nights))
    card = plan.do(ChargeCard(usd=flight.usd + hotel.usd, memo=f"Trip {flight.code}"), pivot=True)
    plan.do(SendMail(to="a@b.c", text=f"Seat {flight.code}, receipt {card.id}"), retry=forever)
    plan.returns(seat=flight.code, receipt=card.id)
    assert plan.document() == parse_definition(THE_TRIP)


def only(plan: Plan[Any]) -> dict[str, Any]:
    """The one step, without what every command of the tests has."""
    (step,) = steps(plan)
    return {n: v for n, v in step.items() if n not in ("kind", "effect", "reversal")}


def test_ids_are_variables_verbs_or_given() -> None:
    """A second one of a name gets a number; blocks are named for their kind."""
    plan = Plan("p")
    seat = plan.do(FindSeats(to="a"))
    again = seat = plan.do(FindSeats(to="b"))
    found: Any = None
    for _ in range(2):
        found = plan.do(FindSeats(to="c"))
    plan.do(FindSeats(to="d"))
    plan.do(FindSeats(to="e"), id="own-id")
    pair = (plan.do(FindSeats(to="f")), plan.do(FindSeats(to="g")))
    with plan.parallel():
        _Upper = plan.do(FindSeats(to="h"))  # noqa: N806 (names need not be lower case)
    del seat, again, found, pair, _Upper
    ids = [step["id"] for step in steps(plan)]
    assert ids == [
        *("seat", "again", "found", "found_2", "find", "own-id", "find_2", "find_3", "parallel")
    ]
    assert list(steps(plan)[-1]["branches"]) == ["upper"]


def test_texts_keep_what_the_user_wrote() -> None:
    """A literal `${` stays one; a dollar before a value too; an f-string is always a text."""
    plan = Plan("p", input=Trip)
    trip = plan.input
    plan.do(SendMail(to="${HOME}", text=f"${trip.nights} for ${{x}} and {trip.to}$"))
    plan.do(SendMail(to=f"{trip.nights}", text=f"{trip.to}"))
    plan.do(SendMail(to="%s, %s" % (trip.to, 1), text=str(trip.nights)))  # noqa: UP031 (works too)
    assert inputs(plan) == [
        {"to": "$${HOME}", "text": '${ "$" }${ input.nights } for $${x} and ${ input.to }$'},
        {"to": "${ string(input.nights) }", "text": "${ input.to }"},
        {"to": "${ input.to }, 1", "text": "${ string(input.nights) }"},
    ]


def test_values_are_rendered_as_json() -> None:
    """Lists, enums, defaults that were not written, aliases."""
    plan = Plan("p", input=Trip)
    trip = plan.input
    plan.do(ChargeCard(usd=1, memo="m", tags=[trip.to, "${", f"n{trip.nights}"]))
    hotel = plan.do(BookHotel(city=trip.to, nights=2, view="sea"))
    plan.do(SendMail(to=hotel.number, text="x"))
    assert inputs(plan) == [
        {"usd": 1.0, "memo": "m", "tags": ["${ input.to }", "$${", "n${ input.nights }"]},
        {"city": "${ input.to }", "nights": 2, "view": "sea"},
        {"to": "${ steps.hotel.output.roomNumber }", "text": "x"},
    ]


def test_a_choice_has_cases_and_otherwise() -> None:
    """Conditions are expressions; what stands in a case belongs to it."""
    plan = Plan("p", input=Trip)
    trip = plan.input
    with plan.choice(id="class") as c:
        with c.when(trip.vip):
            first = plan.do(FindSeats(to="a"))
        with c.when(trip.nights > 7):
            plan.wait("1h")
        with c.otherwise():
            plan.wait(until=trip.to)
    del first
    (step,) = steps(plan)
    assert (step["id"], [case["when"] for case in step["cases"]]) == (
        "class",
        ["${ input.vip }", "${ input.nights > 7 }"],
    )
    assert [[s["id"] for s in case["steps"]] for case in step["cases"]] == [["first"], ["wait"]]
    assert step["otherwise"] == [{"id": "wait_2", "kind": "wait", "until": "${ input.to }"}]


def test_each_gives_the_item_and_collect_the_outputs() -> None:
    """Inside, `item` and `index`; after it, lists of whole outputs or of a part of them."""
    plan = Plan("p", input=Trip)
    with plan.each(plan.input.legs, concurrency=4) as leg:
        room = plan.do(BookHotel(city=leg.city, nights=leg.nights + plan.index))
        plan.do(SendMail(to=room.number, text="x"))
    plan.returns(
        rooms=plan.collect(room), numbers=plan.collect(room.number), n=plan.size(plan.input.legs)
    )
    (step,) = steps(plan)
    assert (step["items"], step["concurrency"], step["steps"][0]["input"]) == (
        "${ input.legs }",
        4,
        {"city": "${ item.city }", "nights": "${ item.nights + index }"},
    )
    assert plan.to_json()["output"] == {
        "rooms": "${ steps.room.output }",
        "numbers": "${ steps.room.output.map(o, o.roomNumber) }",
        "n": "${ size(input.legs) }",
    }


def test_collected_outputs_are_lists_like_any_other() -> None:
    """They can be counted, gone over, and handed on."""
    plan = Plan("p", input=Trip)
    with plan.each(plan.input.legs):
        room = plan.do(BookHotel(city="x", nights=1))
    with plan.each(plan.collect(room)) as booked:
        plan.do(SendMail(to=booked.number, text="x"))
    assert steps(plan)[1]["items"] == "${ steps.room.output }"
    assert steps(plan)[1]["steps"][0]["input"]["to"] == "${ item.roomNumber }"


def test_repeat_runs_until_a_condition() -> None:
    """The condition sees what the iteration gave, and its number."""
    plan = Plan("p")
    with plan.repeat(max=10) as loop:
        seat = plan.do(ReserveFlight(traveller="a", to=f"try {loop.turn}"))
        plan.wait("5s")
        loop.until(plan.any(seat.usd < 100, loop.turn > 5))
    (step,) = steps(plan)
    assert (step["max"], step["until"], [s["id"] for s in step["steps"]]) == (
        10,
        "${ steps.seat.output.usd < 100.0 || turn > 5 }",
        ["seat", "wait"],
    )


def test_alternatives_see_the_failure_before_them() -> None:
    """Plans in order of preference."""
    plan = Plan("p", input=Trip)
    with plan.alternatives() as options:
        with options.plan("by-air"):
            plan.do(ReserveFlight(traveller="a", to=plan.input.to))
        with options.plan("by-mail"):
            plan.do(SendMail(to="x", text=f"sorry: {options.failure.detail}"))
    (step,) = steps(plan)
    assert [(p["name"], p["steps"][0]["input"]) for p in step["plans"]] == [
        ("by-air", {"traveller": "a", "to": "${ input.to }"}),
        ("by-mail", {"to": "x", "text": "sorry: ${ failure.detail }"}),
    ]


def test_a_branch_may_be_longer() -> None:
    """`plan.branch` names it; a block directly in a parallel is a branch too."""
    plan = Plan("p")
    with plan.parallel():
        with plan.branch("seats"):
            plan.do(FindSeats(to="a"), id="a")
            plan.do(FindSeats(to="b"), id="b")
        with plan.repeat(max=2) as loop:
            found = plan.do(FindSeats(to="c"))
            loop.until(found["x"] > 1)
    branches = steps(plan)[0]["branches"]
    assert {name: [s["id"] for s in branch] for name, branch in branches.items()} == {
        "seats": ["a", "b"],
        "repeat": ["repeat"],
    }


def test_everything_about_a_command_step() -> None:
    """All keywords of do(), and a compensation made from what the action gave."""
    plan = Plan("p", input=Trip)
    plan.do(
        ReserveFlight(traveller="a", to="b"),
        id="seat",
        when=plan.input.vip,
        timeout=timedelta(minutes=2),
        retry=forever,
        on_failure="ignore",
        review=plan.guard(
            when=plan.input.nights > 3, title=f"Seat to {plan.input.to}", expires="1d"
        ),
        compensation=lambda done: ReleaseFlight(code=done.output.code),
        undo_retry=7,
        undo_timeout="1h30m",
        verify=True,
        compensable_for="P30D",
    )
    assert only(plan) == {
        "id": "seat",
        "when": "${ input.vip }",
        "command": "flights.reserve",
        "input": {"traveller": "a", "to": "b"},
        "probe": True,
        "timeout": "PT2M",
        "retry": {"max_attempts": None, "max": "PT5M"},
        "on_failure": "ignore",
        "review": {
            "when": "${ input.nights > 3 }",
            "title": "Seat to ${ input.to }",
            "expires": "P1D",
        },
        "compensation": {
            "command": "flights.release",
            "input": {"code": "${ action.output.code }"},
            "retry": {"max_attempts": 7},
            "timeout": "PT1H30M",
            "verify": True,
        },
        "compensable_for": "P30D",
    }


def test_a_compensation_may_be_named_by_its_class() -> None:
    """Then its input is the default one: the action's input and output."""
    plan = Plan("p")
    plan.do(ReserveFlight(traveller="a", to="b"), compensation=ReleaseFlight)
    assert only(plan)["compensation"] == {"command": "flights.release"}
    assert set(plan.commands) == {"flights.reserve", "flights.release"}


def test_the_other_kinds() -> None:
    """Every kind of the document has a builder."""
    plan = Plan("p", input=Trip, budget=Budget(usd=3), events=True, interrupt_after="5s")
    to = plan.input.to
    answer = plan.llm(f"Praise {to}", output=Seat, models=["m"], limits=Limits(usd=1))
    refund = plan.tool("Refund Now", {"usd": answer.usd}, output=Receipt)
    plan.agent("bot", {"to": to}, output=Seat, limits=Limits(turns=3), tools=["refund"], id="bot")
    plan.review("Ok?", {"id": refund.id}, form=Leg, assignees=["lead"], expires="1d", id="ok")
    paid = plan.await_("paid", Paid, timeout="1h", on_timeout="ignore")
    child = plan.saga("child", {"usd": paid.amount}, output=Seat, key=f"c-{plan.saga_key}")
    plan.returns(child)
    schema = {**Seat.model_json_schema()}
    assert steps(plan) == [
        {
            "id": "answer",
            "kind": "llm",
            "prompt": "Praise ${ input.to }",
            "output": schema,
            "models": ["m"],
            "limits": {"usd": 1.0},
        },
        {
            "id": "refund",
            "kind": "tool",
            "tool": "Refund Now",
            "input": {"usd": "${ steps.answer.output.usd }"},
        },
        {
            "id": "bot",
            "kind": "agent",
            "decider": "bot",
            "input": {"to": "${ input.to }"},
            "output": schema,
            "tools": ["refund"],
            "limits": {"turns": 3},
        },
        {
            "id": "ok",
            "kind": "review",
            "title": "Ok?",
            "show": {"id": "${ steps.refund.output.id }"},
            "form": Leg.model_json_schema(),
            "assignees": ["lead"],
            "expires": "P1D",
        },
        {
            "id": "paid",
            "kind": "await",
            "event": "paid",
            "timeout": "PT1H",
            "on_timeout": "ignore",
        },
        {
            "id": "child",
            "kind": "saga",
            "definition": "child",
            "input": {"usd": "${ steps.paid.output.amount }"},
            "key": "c-${ saga.key }",
        },
    ]
    head = plan.to_json()
    assert (head["budget"], head["events"], head["interrupt_after"], head["output"]) == (
        {"usd": 3.0},
        True,
        "PT5S",
        "${ steps.child.output }",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", "PT30S"),
        ("90s", "PT1M30S"),
        ("5m", "PT5M"),
        ("1.5s", "PT1.5S"),
        ("2h", "PT2H"),
        ("1d", "P1D"),
        ("1d 12h", "P1DT12H"),
        ("2w", "P14D"),
        ("pt1h", "PT1H"),
    ],
)
def test_durations(text: str, expected: str) -> None:
    """As people write them, or ISO 8601."""
    plan = Plan("p")
    plan.wait(text)
    assert steps(plan)[0]["for"] == expected


def test_a_guard_is_a_review_of_the_document() -> None:
    """`plan.guard` gives the model of definition.py."""
    plan = Plan("p")
    assert plan.guard(assignees=["a"], quorum=2) == Guard(assignees=("a",), quorum=2)


def test_a_limit_is_one_of_the_document() -> None:
    """Its key is a template; the rest as people write it."""
    plan = Plan("p", input=Trip)
    limit = plan.limit(key=plan.input.to, concurrency=5, rate=(100, "1m"), total=20, name="rooms")
    plan.do(BookHotel(city=plan.input.to, nights=1), limit=limit)
    assert steps(plan)[0]["limit"] == {
        "name": "rooms",
        "key": "${ input.to }",
        "concurrency": 5,
        "rate": {"count": 100, "per": "PT1M"},
        "total": 20,
    }
