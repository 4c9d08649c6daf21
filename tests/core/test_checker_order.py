"""The checker's order of step instances: items, iterations and plans, not only steps."""

from unittest.mock import patch

from amends_contracts.names import StepPath
from amends_orchestrator.core.checker import Change, History, check, decisions
from amends_orchestrator.core.checker import effects as effects_of
from amends_orchestrator.core.checker.order import precedes
from core.dsl import action, alternatives, definition, each, failed, given, repeat, succeeded
from core.test_checker import effect, past

PLACES = definition(
    each("legs", [1, 2], action("a"), action("b")),
    each("free", [1, 2], action("c"), action("d"), concurrency=2),
    repeat("poll", "${ turn == 2 }", alternatives("way", p=[action("e")], q=[action("f")])),
    action("g"),
)
BEFORE = [
    ("legs[0].a", "legs[0].b"),
    ("legs[0].b", "legs[1].a"),
    ("legs[1].b", "free[0].c"),
    ("free[1].c", "free[1].d"),
    ("free[0].d", "poll#1.e"),
    ("poll#1.f", "poll#2.e"),
    ("poll#2.f", "g"),
]
FREE = [("free[0].c", "free[1].c"), ("free[0].c", "free[1].d"), ("poll#1.e", "poll#1.f")]


def test_the_order_of_instances() -> None:
    """Items one after the other, or free; iterations in turn; plans of which one holds."""
    plan = given(PLACES).plan
    found = [(a, b) for a, b in BEFORE + FREE if precedes(plan, StepPath(a), StepPath(b))]
    assert found == BEFORE
    back = [(a, b) for a, b in BEFORE + FREE if precedes(plan, StepPath(b), StepPath(a))]
    assert back == []


def iterations_undone_from_the_first() -> History:
    """Both iterations were undone, the first one first."""
    saga = given(
        definition(repeat("poll", "${ turn == 2 }", action("a")), action("b")),
    )
    for _ in range(2):
        saga.expect("as.do").reply(succeeded(n=1))
    saga.expect("bs.do").reply(failed())
    first, second = StepPath("poll#1.a"), StepPath("poll#2.a")
    taken = (effect(first, Change.TAKEN, 1), effect(second, Change.TAKEN, 2))
    undone = (effect(first, Change.UNDONE, 3), effect(second, Change.UNDONE, 4))
    return History(sagas=(past(saga),), effects=(*taken, *undone))


def test_iterations_are_undone_latest_first() -> None:
    """The world's side of promise 5 goes by instances."""
    report = check(iterations_undone_from_the_first(), {5})
    assert [violation.text for violation in report.violations] == [
        "was undone before poll#2.a, which comes after it"
    ]


def test_a_long_each_is_judged_without_comparing_its_steps() -> None:
    """What is undone in order costs no look at every pair of steps."""
    saga = given(definition(each("legs", list(range(40)), action("a")), action("b")))
    for n in range(40):
        saga.expect("as.do").reply(succeeded(n=n))
    saga.expect("bs.do").reply(failed())
    effects = [effect(StepPath(f"legs[{n}].a"), Change.TAKEN, n) for n in range(40)]
    for n in reversed(range(40)):
        saga.expect("as.undo").reply(succeeded())
        effects.append(effect(StepPath(f"legs[{n}].a"), Change.UNDONE, 80 - n))
    history = History(sagas=(past(saga),), effects=tuple(effects))
    with patch.object(decisions, "precedes") as asked, patch.object(effects_of, "precedes", asked):
        assert check(history, {5}).violations == ()
    assert asked.mock_calls == []
