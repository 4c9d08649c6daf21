"""`each` and `repeat`: what runs when, what sees what, and what is undone."""

import pytest

from amends_contracts.messages import Outcome
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Refused, undo_plan
from core.dsl import (
    Scenario,
    action,
    definition,
    each,
    failed,
    given,
    repeat,
    succeeded,
    unknown,
    wait,
)

LEGS = each("legs", "${ input.legs }", action("flight", input={"to": "${ item.to }"}))
TWO = [{"to": "Rome"}, {"to": "Oslo"}]


def paths(saga: Scenario) -> list[str]:
    """The step paths of what was sent and not looked at yet."""
    return [str(send.path) for send in saga.unanswered]


# --- each ----------------------------------------------------------------------------------------


def test_each_runs_its_body_once_per_item_in_order() -> None:
    """Item 2 begins when item 1 is done; paths count from 0."""
    saga = given(definition(LEGS), legs=TWO)
    assert paths(saga) == ["legs[0].flight"]
    saga.expect("flights.do", to="Rome").reply(succeeded(code="A"))
    assert paths(saga) == ["legs[1].flight"]
    saga.expect("flights.do", to="Oslo").reply(succeeded(code="B"))
    saga.ends("completed")
    assert saga.status("legs") == "succeeded"


def test_items_are_evaluated_once_and_stand_in_the_journal() -> None:
    """With the row that enters the each; the state holds only how many there are."""
    saga = given(definition(LEGS), legs=TWO)
    row = next(row for row in saga.rows if row.kind == "step.entered")
    assert row.data == {"items": TWO}
    assert saga.step("legs").loop.count == 2
    assert saga.step("legs").input_seq == row.seq


def test_at_most_concurrency_items_are_under_way() -> None:
    """The next begins when any of them is done."""
    what = definition(each("e", [1, 2, 3, 4], action("a"), concurrency=2))
    saga = given(what)
    assert paths(saga) == ["e[0].a", "e[1].a"]
    first, second = saga.expect("as.do"), saga.expect("as.do")
    second.reply(succeeded())
    assert paths(saga) == ["e[2].a"]
    first.reply(succeeded())
    assert paths(saga) == ["e[2].a", "e[3].a"]


def test_no_items_is_done_at_once() -> None:
    """What follows begins."""
    saga = given(definition(LEGS, action("hotel")), legs=[])
    saga.expect("hotels.do").reply(succeeded())
    saga.ends("completed")


@pytest.mark.parametrize(
    ("legs", "kind", "text"),
    [
        ({"to": "Rome"}, ProblemType.BAD_EXPRESSION, "the items must be a list, not dict"),
        (None, ProblemType.BAD_EXPRESSION, "the items must be a list, not NoneType"),
        ([1] * 1001, ProblemType.TOO_LARGE, "1001 items; an `each` takes at most 1000"),
        (["x" * 300_000], ProblemType.TOO_LARGE, "an `each` takes at most 262144"),
    ],
)
def test_items_that_cannot_be_gone_over_fail_the_step(legs: object, kind: str, text: str) -> None:
    """Nothing was begun, what came before is undone, and the problem says why."""
    saga = given(definition(action("hotel"), LEGS), legs=legs)
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("hotels.undo").reply(succeeded())
    saga.ends("compensated")
    row = next(row for row in saga.rows if row.kind == "step.failed")
    assert (row.step, row.data["problem"]["type"]) == ("legs", kind)
    assert text in row.data["problem"]["title"]


def test_a_thousand_items_are_allowed() -> None:
    """And all of them may be under way."""
    saga = given(definition(each("e", "${ input.n }", action("a"), concurrency=1000)), n=[0] * 1000)
    assert len(saga.unanswered) == 1000


def test_sequential_items_are_undone_latest_first() -> None:
    """Each in the reverse of its own steps."""
    what = definition(each("e", [1, 2], action("a"), action("b")), action("end"))
    saga = given(what)
    for command in ("as.do", "bs.do", "as.do", "bs.do"):
        saga.expect(command).reply(succeeded())
    saga.expect("ends.do").reply(failed())
    for path in ("e[1].b", "e[1].a", "e[0].b", "e[0].a"):
        assert paths(saga) == [path]
        saga.expect(saga.unanswered[0].command).reply(succeeded())
    saga.ends("compensated")


def test_items_that_ran_side_by_side_are_undone_freely() -> None:
    """And what precedes the each waits for all of them."""
    what = definition(action("visa"), each("e", [1, 2], action("a"), concurrency=2), action("end"))
    saga = given(what)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("as.do").reply(succeeded())
    saga.expect("as.do").reply(succeeded())
    saga.expect("ends.do").reply(failed())
    assert sorted(paths(saga)) == ["e[0].a", "e[1].a"]
    saga.expect("as.undo").reply(succeeded())
    saga.expect("as.undo").reply(succeeded())
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_failed_item_begins_no_other_and_awaits_those_in_flight() -> None:
    """The third is never begun; the second is awaited, then undone as unknown."""
    saga = given(definition(each("e", [1, 2, 3], action("a"), concurrency=2)))
    saga.expect("as.do").reply(failed())
    saga.expect("as.do")
    saga.expect_nothing()
    saga.after(seconds=10)
    assert paths(saga) == ["e[1].a"]
    saga.expect("as.undo").reply(succeeded())
    saga.ends("compensated")
    assert "e[2].a" not in saga.saga.state.steps


def test_an_item_whose_failure_is_ignored_goes_on() -> None:
    """Its output is null in the list."""
    what = definition(
        each("e", [1, 2], action("a", on_failure="ignore")), output="${ steps.a.output }"
    )
    saga = given(what)
    saga.expect("as.do").reply(failed())
    saga.expect("as.do").reply(succeeded(n=2))
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": [None, {"n": 2}]}


def test_inside_an_each_a_step_names_its_own_item_and_outside_the_list_of_all() -> None:
    """`item` and `index` are those of the innermost each."""
    what = definition(
        each(
            "e",
            "${ input.groups }",
            each("f", "${ item.of }", action("a", input={"x": "${ item }", "n": "${ index }"})),
            action("b", input={"all": "${ steps.a.output }", "name": "${ item.name }"}),
        ),
        output={"a": "${ steps.a.output }", "first": "${ steps.b.output[0].ok }"},
    )
    saga = given(what, groups=[{"name": "g", "of": ["p", "q"]}, {"name": "h", "of": []}])
    saga.expect("as.do", x="p", n=0).reply(succeeded(v=1))
    saga.expect("as.do", x="q", n=1).reply(succeeded(v=2))
    saga.expect("bs.do", all=[{"v": 1}, {"v": 2}], name="g").reply(succeeded(ok=True))
    saga.expect("bs.do", all=[], name="h").reply(succeeded(ok=False))
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": {"a": [[{"v": 1}, {"v": 2}], []], "first": True}}


def test_the_output_of_a_skipped_each_is_null() -> None:
    """Not an empty list: it did not run."""
    what = definition(
        each("e", [1], action("a"), when="${ false }"), output={"a": "${ steps.a.output }"}
    )
    saga = given(what)
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": {"a": None}}
    assert saga.status("e") == "skipped"


def test_the_mapping_of_an_undo_knows_its_item() -> None:
    """Evaluated when the reply came."""
    mapping = {"to": "${ item.to }", "code": "${ action.output.code }", "n": "${ index }"}
    leg = action("flight", compensation={"command": "flights.undo", "input": mapping})
    saga = given(definition(each("legs", "${ input.legs }", leg), action("end")), legs=TWO)
    saga.expect("flights.do").reply(succeeded(code="A"))
    saga.expect("flights.do").reply(succeeded(code="B"))
    saga.expect("ends.do").reply(failed())
    saga.expect("flights.undo", to="Oslo", code="B", n=1).reply(succeeded())
    saga.expect("flights.undo", to="Rome", code="A", n=0).reply(succeeded())
    saga.ends("compensated")


def test_a_mapping_that_fails_in_a_loop_needs_an_operator() -> None:
    """Never skipped: the effect is there, and the items before it wait."""
    mapping = {"n": "${ action.output.n + 1 }"}
    leg = action("a", compensation={"command": "as.undo", "input": mapping})
    saga = given(definition(each("e", [1, 2], leg), action("end")))
    saga.expect("as.do").reply(succeeded(n=1))
    saga.expect("as.do").reply(succeeded(n="text"))
    saga.expect("ends.do").reply(failed())
    saga.is_now("stuck")
    assert saga.step("e[1].a").problem == ProblemType.UNDO_MAPPING
    saga.skips("e[1].a")
    saga.expect("as.undo", n=2).reply(succeeded())
    saga.ends("compensated", residue=1)


def test_an_expression_over_its_budget_fails_its_item_and_says_so() -> None:
    """A clear end, never a silent retry."""
    heavy = "${ input.l.all(a, input.l.all(b, input.l.all(c, a + b + c >= 0))) }"
    saga = given(definition(each("e", [1], action("a", input={"x": heavy}))), l=[1] * 300)
    saga.ends("compensated")
    row = next(row for row in saga.rows if row.kind == "step.failed")
    assert (row.step, row.data["problem"]["type"]) == ("e[0].a", ProblemType.BAD_EXPRESSION)


def test_a_reply_names_the_instance() -> None:
    """A late success for an item that was undone as unknown is given to that undo alone."""
    saga = given(definition(each("e", [1, 2], action("a"), concurrency=2), action("end")))
    late = saga.expect("as.do")
    saga.expect("as.do").reply(failed())
    saga.after(seconds=10)
    undo = saga.expect("as.undo", output=None)
    late.reply(succeeded(code="A"))
    assert saga.kinds()[-1] == "step.late e[0].a"
    undo.reply(succeeded())
    saga.ends("compensated")


def test_an_operator_acts_on_one_item() -> None:
    """By its path; the each goes on."""
    doubtful = action("a", effect="none", reversal="irreversible")
    saga = given(definition(each("e", [1, 2], doubtful)))
    saga.expect("as.do").reply(unknown())
    saga.is_now("stuck")
    assert isinstance(saga.resolves("e", Outcome.SUCCEEDED, {}), Refused)
    saga.resolves("e[0].a", Outcome.SUCCEEDED, {"n": 1})
    saga.expect("as.do").reply(succeeded())
    saga.ends("completed")


def test_after_the_pivot_items_that_cannot_be_evaluated_wait_for_an_operator() -> None:
    """Who skips the each, for it cannot get better by itself."""
    what = definition(
        action("pay", pivot=True),
        each("e", "${ steps.pay.output.list }", action("a", retry={"max_attempts": None})),
    )
    saga = given(what)
    saga.expect("pays.do").reply(succeeded())
    saga.is_now("stuck")
    saga.retries("e")
    saga.is_now("stuck")
    saga.skips("e")
    saga.ends("completed")


def test_a_suspended_saga_begins_no_item() -> None:
    """Replies are recorded."""
    saga = given(definition(each("e", [1, 2], action("a"))))
    first = saga.expect("as.do")
    saga.suspends()
    first.reply(succeeded())
    saga.expect_nothing()
    saga.resumes()
    assert paths(saga) == ["e[1].a"]


def test_a_journal_that_fills_up_in_a_loop_turns_the_saga_back() -> None:
    """At 10,000 rows; what was done is undone, with as many rows again."""
    inner = each("f", "${ input.l }", action("a", when="${ index > 998 }"), concurrency=1000)
    saga = given(definition(each("e", "${ input.l }", inner)), l=[0] * 1000)
    saga.checked = False
    done = 0
    while saga.saga.status == "running":
        saga.expect("as.do").reply(succeeded())
        done += 1
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.JOURNAL_FULL
    undone = 0
    while saga.unanswered:
        saga.expect("as.undo").reply(succeeded())
        undone += 1
    saga.ends("compensated")
    assert (done, undone) == (9, 9)


def test_a_long_loop_notes_how_far_it_is() -> None:
    """So that a decision need not look into all of it; forward, and back from its end."""
    saga = given(definition(each("e", "${ input.l }", action("a")), action("end")), l=[0] * 60)
    for _ in range(60):
        saga.expect("as.do").reply(succeeded())
    saga.expect("ends.do").reply(failed())
    for _ in range(60):
        saga.expect("as.undo").reply(succeeded())
    saga.ends("compensated")
    noted = [row.data for row in saga.rows if row.kind == "step.advanced"]
    assert noted == [{"done": 25}, {"done": 50}, {"undone": 25}, {"undone": 50}]


def test_the_preview_has_sequential_items_one_by_one_and_others_beside_each_other() -> None:
    """Equal numbers are free of each other."""

    def orders(concurrency: int) -> list[tuple[int, str]]:
        what = definition(each("e", [1, 2], action("a"), concurrency=concurrency), action("end"))
        saga = given(what)
        saga.expect("as.do").reply(succeeded())
        saga.expect("as.do").reply(succeeded())
        return [(item.order, str(item.path)) for item in undo_plan(saga.plan, saga.saga)]

    assert orders(1) == [(1, "end"), (2, "e[1].a"), (3, "e[0].a")]
    assert orders(2) == [(1, "end"), (2, "e[1].a"), (2, "e[0].a")]


# --- repeat --------------------------------------------------------------------------------------

POLL = repeat(
    "poll", "${ steps.check.output.done }", action("check", input={"n": "${ turn }"}), turns=3
)


def test_repeat_runs_its_body_until_the_condition_holds() -> None:
    """Iterations count from 1, and each has paths of its own."""
    saga = given(definition(POLL, output="${ steps.check.output.done }"))
    assert paths(saga) == ["poll#1.check"]
    saga.expect("checks.do", n=1).reply(succeeded(done=False))
    assert paths(saga) == ["poll#2.check"]
    saga.expect("checks.do", n=2).reply(succeeded(done=True))
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": True}


def test_a_repeat_that_reaches_its_max_fails_and_is_undone_latest_first() -> None:
    """With a problem of its own."""
    saga = given(definition(POLL))
    for _ in range(3):
        saga.expect("checks.do").reply(succeeded(done=False))
    assert saga.saga.state.failure is not None
    assert (saga.saga.state.failure.type, saga.saga.state.failure.step) == (
        ProblemType.EXHAUSTED,
        "poll",
    )
    assert [str(item.path) for item in undo_plan(saga.plan, saga.saga)] == [
        "poll#3.check",
        "poll#2.check",
        "poll#1.check",
    ]
    for path in ("poll#3.check", "poll#2.check", "poll#1.check"):
        assert paths(saga) == [path]
        saga.expect("checks.undo").reply(succeeded())
    saga.ends("compensated")


def test_an_until_that_has_no_value_fails_the_repeat() -> None:
    """Here its member is not there."""
    saga = given(definition(POLL))
    saga.expect("checks.do").reply(succeeded())
    saga.expect("checks.undo").reply(succeeded())
    saga.ends("compensated")
    row = next(row for row in saga.rows if row.kind == "step.failed")
    assert (row.step, row.data["problem"]["type"]) == ("poll", ProblemType.BAD_EXPRESSION)


def test_a_late_reply_to_an_iteration_that_is_over_changes_nothing() -> None:
    """It belongs to that iteration, which is settled."""
    saga = given(definition(POLL))
    first = saga.expect("checks.do")
    first.reply(succeeded(done=False))
    refused = first.reply(succeeded(done=True))
    assert isinstance(refused, Refused)
    assert refused.duplicate
    assert paths(saga) == ["poll#2.check"]


def test_iterations_that_do_nothing_end_at_the_max() -> None:
    """Ten thousand of them fill the journal before: a clear end either way."""
    idle = action("a", when="${ false }")
    few = given(definition(repeat("r", "${ false }", idle, turns=3)))
    few.ends("compensated")
    assert few.saga.state.failure is not None
    assert few.saga.state.failure.type == ProblemType.EXHAUSTED
    many = given_unchecked(repeat("r", "${ false }", idle, turns=10_000))
    many.ends("compensated")
    assert many.saga.state.failure is not None
    assert many.saga.state.failure.type == ProblemType.JOURNAL_FULL


def given_unchecked(*steps: object) -> Scenario:
    """A started saga whose first decision is too long to be checked row by row."""
    saga = given(definition(action("first"), *steps))
    saga.checked = False
    saga.expect("firsts.do").reply(succeeded())
    saga.expect("firsts.undo").reply(succeeded())
    return saga


def test_polling_with_a_pause_waits_between_iterations() -> None:
    """A wait in the body."""
    what = definition(
        repeat(
            "poll", "${ steps.check.output.done }", action("check"), wait("w", **{"for": "PT5M"})
        )
    )
    saga = given(what)
    saga.expect("checks.do").reply(succeeded(done=False))
    saga.after(minutes=4)
    saga.expect_nothing()
    saga.after(minutes=1)
    saga.expect("checks.do").reply(succeeded(done=True))
    saga.after(minutes=5)
    saga.ends("completed")
