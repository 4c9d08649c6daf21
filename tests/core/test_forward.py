"""Forward: what runs when, with which bodies, and how a saga completes."""

from amends_contracts.messages import Reversal
from amends_contracts.problems import ProblemType
from core.dsl import (
    action,
    bad_output,
    choice,
    definition,
    failed,
    given,
    parallel,
    succeeded,
)

TRIP = definition(
    parallel("both", air=[action("flight", input={"to": "${ input.to }"})], bed=[action("hotel")]),
    action("card", input={"usd": "${ steps.flight.output.usd + 1 }"}, pivot=True),
    action(
        "mail", input={"text": "Seat ${ steps.flight.output.code }"}, retry={"max_attempts": None}
    ),
    output={"seat": "${ steps.flight.output.code }"},
)


def test_a_saga_runs_its_steps_in_order_and_completes_with_its_output() -> None:
    """Parallel branches start together, what follows waits for all of them."""
    saga = given(TRIP, to="Rome")
    flight = saga.expect("flights.do", to="Rome")
    saga.expect("hotels.do").reply(succeeded())
    saga.expect_nothing()
    flight.reply(succeeded(code="A1", usd=5))
    saga.expect("cards.do", usd=6).reply(succeeded())
    saga.expect("mails.do", text="Seat A1").reply(succeeded())
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": {"seat": "A1"}}


def test_mixed_whole_and_broken_numbers_add_up() -> None:
    """JSON has one kind of number: 5.5 from a participant and 1 from the plan need no cast."""
    what = definition(
        action("flight"), action("card", input={"usd": "${ steps.flight.output.usd + input.fee }"})
    )
    saga = given(what, fee=1)
    saga.expect("flights.do").reply(succeeded(usd=5.5))
    saga.expect("cards.do", usd=6.5)


def test_a_step_whose_condition_does_not_hold_is_skipped() -> None:
    """`when` false: never dispatched, and its output is null for those who look."""
    what = definition(
        action("flight", when="${ input.fly }"),
        action("hotel", input={"code": "${ steps.flight.output }"}),
    )
    saga = given(what, fly=False)
    saga.expect("hotels.do", code=None).reply(succeeded())
    saga.ends("completed")
    assert saga.status("flight") == "skipped"


def test_a_skipped_parallel_runs_nothing_of_it() -> None:
    """`when` of a step that holds others counts for all of them."""
    saga = given(definition(parallel("p", when="${ false }", a=[action("flight")]), action("card")))
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")


def test_a_condition_that_is_no_truth_value_fails_the_step() -> None:
    """A mistaken condition does not silently skip a step."""
    saga = given(definition(action("flight", when="${ input.n }")), n=3)
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.BAD_EXPRESSION


def test_the_first_case_that_holds_is_taken_and_stays_a_fact() -> None:
    """A choice is journalled once."""
    what = definition(
        choice(
            "way",
            ("${ input.km > 1000 }", [action("flight")]),
            ("${ input.km > 100 }", [action("train")]),
            otherwise=[action("bus")],
        )
    )
    saga = given(what, km=500)
    assert saga.step("way").chosen == 1
    saga.expect("trains.do").reply(succeeded())
    saga.ends("completed")
    assert [k for k in saga.kinds() if k.startswith("step.entered")] == ["step.entered way"]
    bus = given(what, km=5)
    bus.expect("buss.do").reply(succeeded())
    bus.ends("completed")


def test_an_ignored_failure_is_recorded_and_the_plan_goes_on() -> None:
    """`on_failure: ignore`."""
    saga = given(definition(action("flight", on_failure="ignore"), action("card")))
    saga.expect("flights.do").reply(failed())
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")
    assert saga.status("flight") == "failed"


def test_an_input_that_cannot_be_evaluated_fails_the_step_before_it_is_sent() -> None:
    """Nothing was dispatched, so nothing of it is compensated."""
    what = definition(action("flight"), action("card", input={"x": "${ steps.flight.output.no }"}))
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.status("card") == "failed"


def test_a_body_over_256_kb_fails_the_step() -> None:
    """It could not travel."""
    saga = given(definition(action("flight", input="${ input }")), text="x" * 300_000)
    saga.ends("compensated")
    assert saga.step("flight").problem == ProblemType.TOO_LARGE


def test_an_input_that_is_no_object_fails_the_step() -> None:
    """Bodies are objects."""
    saga = given(definition(action("flight", input="${ input.n }")), n=1)
    saga.ends("compensated")
    assert saga.step("flight").problem == ProblemType.BAD_EXPRESSION


def test_an_output_that_cannot_be_made_is_shown_and_undoes_nothing() -> None:
    """The saga has done its work."""
    saga = given(definition(action("flight"), output={"x": "${ steps.flight.output.no }"}))
    saga.expect("flights.do").reply(succeeded(code=1))
    saga.ends("completed")
    assert saga.rows[-1].data["problem"]["type"] == ProblemType.BAD_EXPRESSION


def test_an_output_against_its_schema_is_an_effect_and_turns_the_saga_back() -> None:
    """The output is dropped, the effect is undone like any other, with output null."""
    saga = given(definition(action("flight"), action("card")))
    saga.expect("flights.do").reply(bad_output())
    saga.expect("flights.undo", output=None).reply(succeeded())
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.BAD_OUTPUT


def test_a_lone_surrogate_in_an_input_fails_the_step_and_not_the_engine() -> None:
    """Text that is no UTF-8 cannot travel."""
    saga = given(definition(action("flight", input="${ input }")), text="\ud800")
    saga.ends("compensated")


def test_a_read_only_step_is_not_compensated() -> None:
    """There is nothing to take back."""
    saga = given(definition(action("look", reversal=Reversal.READ_ONLY), action("card")))
    saga.expect("looks.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.ends("compensated")
    assert saga.status("look") == "nothing_to_compensate"
