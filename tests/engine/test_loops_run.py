"""Loops, plans and waits through the real engine: their values are loaded, their waits wake it."""

from typing import Any

from amends_contracts.messages import Command, Json, Reply
from amends_contracts.names import Op
from engine.harness import action, engine
from engine.scripted import failed, succeeded

WAY: dict[str, Json] = {
    "kind": "alternatives",
    "id": "way",
    "plans": [
        {
            "name": "stay",
            "steps": [
                action("flight", "flights.reserve", input={"to": "${ item.to }"}),
                action("hotel", "hotels.book", input={"seat": "${ steps.flight.output.code }"}),
            ],
        },
        {
            "name": "day-trip",
            "steps": [action("there", "flights.reserve", input={"why": "${ failure.type }"})],
        },
    ],
}
TOUR: dict[str, Json] = {
    "name": "tour",
    "version": 1,
    "steps": [
        {
            "kind": "each",
            "id": "legs",
            "items": "${ input.legs }",
            "concurrency": 2,
            "steps": [WAY],
        },
        {
            "kind": "repeat",
            "id": "poll",
            "until": "${ turn == 2 }",
            "max": 3,
            "steps": [
                {"kind": "wait", "id": "pause", "for": "PT0.05S"},
                action("look", "hotels.book", input={"all": "${ steps.flight.output }"}),
            ],
        },
        action("card", "payments.charge"),
    ],
}
LEGS: Json = {"legs": [{"to": "Rome"}, {"to": "Oslo"}]}


def full_in_oslo(command: Command) -> Reply | None:
    """No room for whoever has seat O."""
    script = failed("sold-out") if command.json() == {"seat": "O"} else succeeded()
    return script(command)


def a_seat(command: Command) -> Reply | None:
    """R to Rome, O to Oslo."""
    return succeeded(code=command.json().get("to", "?")[0])(command)


async def test_a_tour_is_done_and_undone() -> None:
    """Each leg by its plan; in the end everything is taken back but what was already."""
    async with engine() as e:
        e.register(TOUR)
        e.participants.on("flights.reserve", a_seat)
        e.participants.on("hotels.book", full_in_oslo)
        saga = await e.start("done", definition="tour", value=LEGS)
        assert await e.ends(saga) == "completed"
        looks: list[Any] = [c.json() for c in e.participants.seen if "poll#" in str(c.key)]
        assert looks == [{"all": [{"code": "R"}, None]}] * 2
        there = next(c for c in e.participants.seen if "].there/" in str(c.key))
        assert there.json() == {"why": "sold-out"}

        e.participants.seen.clear()
        e.participants.on("payments.charge", failed("declined"))
        undone = await e.start("undone", definition="tour", value=LEGS)
        assert await e.ends(undone) == "compensated"
        undos = [c for c in e.participants.seen if c.op is Op.COMPENSATION]
        paths = [str(c.key).split("/")[1] for c in undos]
        assert paths[0] == "legs[1].flight"
        assert paths[1:3] == ["poll#2.look", "poll#1.look"]
        assert sorted(paths[3:]) == ["legs[0].flight", "legs[0].hotel", "legs[1].there"]
        assert paths.index("legs[0].hotel") < paths.index("legs[0].flight")
