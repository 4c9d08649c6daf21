"""Limits inside loops and alternatives, beside signals, and in late undos."""

from datetime import timedelta

from core.dsl import (
    Scenario,
    action,
    alternatives,
    awaits,
    definition,
    each,
    failed,
    given,
    parallel,
    repeat,
    succeeded,
    unknown,
)

ONE = {"concurrency": 1}


def paths(saga: Scenario) -> list[str]:
    """What was sent and not looked at yet: `<op> <path>`."""
    return [f"{send.op} {send.path}" for send in saga.unanswered]


def test_each_item_asks_for_a_place_of_its_own() -> None:
    """Its key may name the item; what waits counts as under way."""
    room = action("room", limit={"key": "${ item.city }", **ONE})
    cities = [{"city": "Rome"}, {"city": "Oslo"}, {"city": "Bern"}]
    saga = given(definition(each("stays", cities, room, concurrency=2)))
    assert [saga.asks(f"stays[{n}].room").key for n in (0, 1)] == ["Rome", "Oslo"]
    assert "stays[2].room" not in saga.saga.state.steps
    saga.grants("stays[1].room")
    saga.expect("rooms.do").reply(succeeded())
    assert saga.asks("stays[2].room").key == "Bern"
    assert saga.status("stays[0].room") == "pending"


def test_an_iteration_asks_anew() -> None:
    """The place of the one before has been given back."""
    saga = given(definition(repeat("r", "${ turn == 2 }", action("poll", limit=ONE))))
    for turn in (1, 2):
        saga.grants(f"r#{turn}.poll")
        saga.expect("polls.do").reply(succeeded())
    saga.ends("completed")
    assert saga.permits == {}


def test_a_plan_that_fails_withdraws_what_its_steps_ask_for() -> None:
    """They have begun nothing; what others beside the alternatives ask for stays."""
    first = parallel("both", a=[action("room", limit=ONE)], b=[action("taxi")])
    way = alternatives("way", one=[first], two=[action("bus", limit=ONE)])
    saga = given(definition(parallel("all", x=[way], y=[action("card", limit=ONE)])))
    saga.expect("taxis.do").reply(failed())
    saga.is_now("running")
    assert saga.status("room") == "failed"
    assert sorted(path for path, _ in saga.permits) == ["bus", "card"]


def test_what_a_failed_plan_has_in_doubt_keeps_its_place_until_it_is_settled() -> None:
    """Its participant may be at work on it."""
    first = parallel("both", a=[action("room", limit=ONE)], b=[action("taxi")])
    saga = given(definition(alternatives("way", one=[first], two=[action("bus")])))
    saga.grants("room")
    room = saga.expect("rooms.do")
    saga.expect("taxis.do").reply(failed())
    assert [path for path, _ in saga.permits] == ["room"]
    room.reply(unknown())
    assert saga.permits == {}
    saga.expect("rooms.undo").reply(succeeded())
    saga.expect("buss.do").reply(succeeded())
    saga.ends("completed")


def test_a_late_undo_of_a_loop_needs_no_permit() -> None:
    """Nor does it wait for a participant that does not answer."""
    saga = given(definition(each("e", ["x", "y"], action("room", limit=ONE))))
    for n in (0, 1):
        saga.grants(f"e[{n}].room")
        saga.expect("rooms.do").reply(succeeded())
    saga.ends("completed")
    undo = saga.undone()
    undo.sick["rooms"] = timedelta(minutes=1)
    assert paths(undo) == ["compensation e[1].room"]
    undo.expect("rooms.undo").reply(succeeded())
    undo.expect("rooms.undo").reply(succeeded())
    undo.ends("compensated")
    assert undo.permits == {}


def test_an_event_and_a_place_are_waited_for_one_after_the_other() -> None:
    """The step asks for its place when its event has come, not before."""
    saga = given(definition(each("e", ["x"], awaits("paid", "paid"), action("room", limit=ONE))))
    assert saga.permits == {}
    saga.signals("paid", "p-1")
    assert [path for path, _ in saga.permits] == ["e[0].room"]
