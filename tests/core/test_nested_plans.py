"""Alternatives in loops, loops in alternatives, and alternatives in each other."""

from core.dsl import (
    Scenario,
    action,
    alternatives,
    definition,
    each,
    failed,
    given,
    parallel,
    repeat,
    succeeded,
    unknown,
)


def paths(saga: Scenario) -> list[str]:
    """What was sent and not looked at yet: `<op> <path>`."""
    return [f"{send.op} {send.path}" for send in saga.unanswered]


def test_each_item_has_a_savepoint_of_its_own() -> None:
    """One item takes the train, the other flies."""
    way = alternatives(
        "way",
        air=[action("flight"), action("seat")],
        rail=[action("train", input={"to": "${ item }", "why": "${ failure.type }"})],
    )
    what = definition(each("legs", ["r", "o"], way, concurrency=2), action("card"))
    saga = given(what)
    saga.expect("flights.do").reply(succeeded(code="A"))
    saga.expect("flights.do").reply(succeeded(code="B"))
    saga.expect("seats.do").reply(failed("sold-out"))
    saga.expect("seats.do").reply(succeeded())
    saga.expect("flights.undo", output={"code": "A"}).reply(succeeded())
    assert paths(saga) == ["action legs[0].train"]
    saga.expect("trains.do", to="r", why="sold-out").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    assert sorted(paths(saga)) == ["compensation legs[0].train", "compensation legs[1].seat"]
    saga.expect("trains.undo").reply(succeeded())
    saga.expect("seats.undo").reply(succeeded())
    saga.expect("flights.undo", output={"code": "B"}).reply(succeeded())
    saga.ends("compensated")


def test_a_loop_in_a_plan_is_undone_at_the_savepoint() -> None:
    """Every iteration, latest first, and a maximum reached fails the plan."""
    poll = repeat("poll", "${ false }", action("a"), turns=2)
    saga = given(definition(alternatives("way", one=[poll], two=[action("b")])))
    saga.expect("as.do").reply(succeeded())
    saga.expect("as.do").reply(succeeded())
    assert paths(saga) == ["compensation poll#2.a"]
    saga.expect("as.undo").reply(succeeded())
    assert paths(saga) == ["compensation poll#1.a"]
    saga.expect("as.undo").reply(succeeded())
    saga.expect("bs.do").reply(succeeded())
    saga.ends("completed")


def test_alternatives_in_a_repeat_begin_with_their_first_plan_in_every_iteration() -> None:
    """Paths of the new iteration are new."""
    way = alternatives("way", air=[action("flight")], rail=[action("train")])
    saga = given(definition(repeat("r", "${ turn == 2 }", way)))
    saga.expect("flights.do").reply(failed())
    saga.expect("trains.do").reply(succeeded())
    assert paths(saga) == ["action r#2.flight"]
    saga.expect("flights.do").reply(succeeded())
    saga.ends("completed")


def test_the_last_inner_plan_fails_the_outer_plan() -> None:
    """Which is undone with all that is in it, before its successor begins."""
    inner = alternatives("inner", p=[action("p")], q=[action("q")])
    what = definition(alternatives("outer", x=[action("x"), inner], y=[action("y")]))
    saga = given(what)
    saga.expect("xs.do").reply(succeeded())
    saga.expect("ps.do").reply(failed())
    saga.expect("qs.do").reply(failed())
    assert paths(saga) == ["compensation x"]
    saga.expect("xs.undo").reply(succeeded())
    saga.expect("ys.do").reply(succeeded())
    saga.ends("completed")


def test_an_outer_plan_that_fails_while_an_inner_one_is_undone_starts_no_inner_plan() -> None:
    """The undo that was sent goes on, and counts for both."""
    inner = alternatives("inner", p=[action("p"), action("bad")], q=[action("q")])
    first = [parallel("par", a=[inner], b=[action("z")])]
    saga = given(definition(alternatives("outer", x=first, y=[action("y")])))
    saga.expect("ps.do").reply(succeeded())
    z = saga.expect("zs.do")
    saga.expect("bads.do").reply(failed())
    undo = saga.expect("ps.undo")
    z.reply(failed())
    saga.expect_nothing()
    undo.reply(succeeded())
    assert paths(saga) == ["action y"]
    saga.expect("ys.do").reply(succeeded())
    saga.ends("completed")


def test_an_ignored_failure_does_not_fail_the_plan() -> None:
    """`on_failure: ignore`; but a doubt that was ignored is undone when the plan fails later."""
    plan = [action("a", on_failure="ignore", retry={"max_attempts": 1}), action("b")]
    saga = given(definition(alternatives("way", one=plan, two=[action("c")])))
    saga.expect("as.do").reply(unknown())
    saga.expect("bs.do").reply(failed())
    assert paths(saga) == ["compensation a"]
    saga.expect("as.undo").reply(succeeded())
    saga.expect("cs.do").reply(succeeded())
    saga.ends("completed")
