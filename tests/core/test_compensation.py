"""Back: who is compensated, in which order, with which input, and what an undo may answer."""

from amends_contracts.messages import ActionOutcome, Outcome
from amends_contracts.names import Op
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Refused
from core.dsl import (
    action,
    choice,
    definition,
    failed,
    found,
    given,
    parallel,
    succeeded,
    unknown,
)

CHAIN = definition(action("flight"), action("hotel"), action("card"))


def test_a_failed_step_undoes_what_succeeded_before_it_newest_first() -> None:
    """And itself not: it changed nothing."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded(code="A1"))
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("cards.do").reply(failed("declined"))
    saga.is_now("compensating")
    saga.expect("hotels.undo").reply(succeeded())
    saga.expect("flights.undo", output={"code": "A1"}).reply(succeeded())
    saga.ends("compensated")
    assert saga.status("card") == "failed"
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == "declined"


def test_parallel_branches_are_undone_freely_and_what_precedes_them_waits() -> None:
    """A branch that is done compensates at once; only what precedes the parallel waits."""
    what = definition(
        action("visa"),
        parallel("p", a=[action("flight"), action("seat")], b=[action("hotel")]),
    )
    saga = given(what)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(succeeded())
    saga.expect("seats.do").reply(succeeded())
    saga.expect("hotels.do").reply(failed())
    seat = saga.expect("seats.undo")
    saga.expect_nothing()
    seat.reply(succeeded())
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")


def test_what_is_in_flight_is_awaited_until_interrupt_after_and_then_undone_as_unknown() -> None:
    """The earlier of timeout and `interrupt_after` (10 s)."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    saga.expect_nothing()
    saga.after(seconds=9.9)
    saga.expect_nothing()
    saga.after(seconds=0.1)
    undo = saga.expect("flights.undo", output=None)
    assert undo.send.action_outcome is ActionOutcome.UNKNOWN
    refused = flight.reply(failed())
    assert isinstance(refused, Refused)
    undo.reply(succeeded())
    saga.ends("compensated")


def test_a_reply_while_interrupted_settles_the_step() -> None:
    """`failed` in time: nothing to undo."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    flight.reply(failed(retryable=True))
    saga.ends("compensated")


def test_a_step_that_waits_for_its_next_attempt_is_not_tried_again() -> None:
    """No attempt starts after a failure; nothing had changed, so nothing is undone."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    saga.expect("flights.do").reply(failed(retryable=True))
    saga.expect("hotels.do").reply(failed())
    saga.ends("compensated")
    assert saga.status("flight") == "failed"


def test_a_late_success_is_given_to_the_next_attempt_of_the_undo() -> None:
    """It is journalled, and the undo learns the output."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    saga.after(seconds=10)
    undo = saga.expect("flights.undo", output=None)
    flight.reply(succeeded(code="A1"))
    assert isinstance(flight.reply(succeeded(code="A1")), Refused)
    undo.reply(failed("amends:running", retryable=True))
    saga.wakes()
    again = saga.expect("flights.undo", attempt=2, output={"code": "A1"})
    assert again.send.action_outcome is ActionOutcome.SUCCEEDED
    again.reply(succeeded())
    saga.ends("compensated")


def test_a_success_for_a_failed_step_is_an_alarm_once() -> None:
    """Its participant lies: journalled, and a repetition writes nothing."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    hotel = saga.expect("hotels.do")
    hotel.reply(failed())
    hotel.reply(succeeded())
    assert saga.kinds()[-1] == "step.alarmed hotel"
    refused = hotel.reply(succeeded())
    assert isinstance(refused, Refused)
    assert refused.duplicate


def test_the_mapped_input_of_an_undo_is_journalled_when_the_reply_came() -> None:
    """It comes from recorded input and output, evaluated once."""
    mapping = {"ref": "${ action.output.code }", "who": "${ action.input.who }"}
    what = definition(
        action("flight", input={"who": "ann"}, compensation={"input": mapping}), action("card")
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded(code="A1"))
    row = next(row for row in saga.rows if row.kind == "step.succeeded")
    assert row.data["undo"] == {"ref": "A1", "who": "ann"}
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.do", op=Op.COMPENSATION, ref="A1", who="ann").reply(succeeded())
    saga.ends("compensated")


def test_the_mapping_of_an_unknown_outcome_sees_a_null_output() -> None:
    """Members of a null output are null; it is journalled when compensation starts."""
    what = definition(
        action(
            "flight",
            retry={"max_attempts": 1},
            compensation={"input": {"ref": "${ action.output.code }"}},
        )
    )
    saga = given(what)
    saga.expect("flights.do").reply(unknown())
    saga.expect("flights.do", op=Op.COMPENSATION, ref=None).reply(succeeded())
    saga.ends("compensated")


def test_a_mapping_that_fails_makes_the_step_compensation_failed() -> None:
    """Never skipped: the effect is there."""
    mapping = {"n": "${ action.output.n + 1 }"}
    saga = given(definition(action("flight", compensation={"input": mapping}), action("card")))
    saga.expect("flights.do").reply(succeeded(n="text"))
    saga.expect("cards.do").reply(failed())
    saga.is_now("stuck")
    assert saga.status("flight") == "compensation_failed"
    assert saga.step("flight").problem == ProblemType.UNDO_MAPPING
    saga.retries("flight")
    saga.is_now("stuck")
    saga.skips("flight")
    saga.ends("compensated", residue=1)


def test_an_undo_is_retried_for_ever_with_a_counter_of_its_own() -> None:
    """Its attempts have nothing to do with those of the action."""
    saga = given(definition(action("flight"), action("card")))
    saga.expect("flights.do").reply(failed(retryable=True))
    saga.wakes()
    saga.expect("flights.do", attempt=2).reply(succeeded())
    saga.expect("cards.do").reply(failed())
    for attempt in range(1, 30):
        saga.expect("flights.undo", attempt=attempt).reply(failed(retryable=True))
        saga.wakes()
    saga.expect("flights.undo", attempt=30).reply(succeeded())
    saga.ends("compensated")


def test_an_undo_that_is_not_answered_is_sent_again() -> None:
    """Its timeout is a doubt, and its key makes another attempt safe."""
    saga = given(definition(action("flight"), action("card")))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    first = saga.expect("flights.undo")
    saga.after(minutes=1)
    saga.wakes()
    saga.expect("flights.undo", attempt=2)
    first.reply(succeeded())
    saga.ends("compensated")


def test_an_undo_that_fails_for_good_blocks_only_what_precedes_it() -> None:
    """The saga is stuck once the other branches have gone as far as they can."""
    what = definition(
        action("visa"), parallel("p", a=[action("flight")], b=[action("hotel")]), action("card")
    )
    saga = given(what)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(succeeded())
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.undo").reply(failed("no"))
    saga.is_now("compensating")
    saga.expect("hotels.undo").reply(succeeded())
    saga.is_now("stuck")
    saga.expect_nothing()
    saga.retries("flight")
    saga.is_now("compensating")
    saga.expect("flights.undo", attempt=2).reply(succeeded())
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_skipped_undo_leaves_residue_with_an_owner() -> None:
    """And what precedes it goes on."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    hotel = saga.expect("hotels.undo")
    hotel.reply(failed("no"))
    saga.skips("hotel")
    assert isinstance(hotel.reply(succeeded()), Refused)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated", residue=1)


def test_a_resolved_undo_leaves_no_residue() -> None:
    """An operator knows that it is undone."""
    saga = given(definition(action("flight"), action("card")))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.undo").reply(failed("no"))
    saga.resolves("flight", Outcome.SUCCEEDED)
    saga.ends("compensated")


def test_a_verified_undo_counts_only_after_a_probe_says_so() -> None:
    """`verify: true`: still there after several looks is `compensation_failed`."""
    what = definition(
        action("flight", probe=True, compensation={"command": "flights.undo", "verify": True}),
        action("card"),
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    undo = saga.expect("flights.undo")
    undo.reply(succeeded())
    probe = saga.expect("flights.do", op=Op.PROBE)
    probe.reply(found("present"))
    saga.wakes()
    saga.expect("flights.do", op=Op.PROBE).reply(found("undone"))
    saga.ends("compensated")

    never = given(what)
    never.expect("flights.do").reply(succeeded())
    never.expect("cards.do").reply(failed())
    undo = never.expect("flights.undo")
    undo.reply(succeeded())
    for _ in range(5):
        never.expect("flights.do", op=Op.PROBE).reply(found("present"))
        if never.saga.status == "compensating":
            never.wakes()
    never.is_now("stuck")
    assert never.step("flight").problem == ProblemType.UNDO_UNVERIFIED
    assert isinstance(undo.reply(succeeded()), Refused)


def test_forgotten_stops_everything_until_an_operator_decides() -> None:
    """A participant that lost its memory must not be asked to undo anything more."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.expect("hotels.undo").reply(unknown("amends:forgotten"))
    saga.is_now("stuck")
    saga.expect_nothing()
    saga.resolves("hotel", Outcome.SUCCEEDED)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_only_the_case_that_ran_is_undone() -> None:
    """Of what ran."""
    what = definition(
        choice("way", ("${ true }", [action("flight")]), otherwise=[action("bus")]), action("card")
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_an_undo_with_effect_none_is_not_repeated_after_a_timeout() -> None:
    """Only a person can tell; a late answer still settles it."""
    saga = given(definition(action("flight", effect="none"), action("card")))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    undo = saga.expect("flights.undo")
    saga.after(minutes=1)
    saga.is_now("stuck")
    saga.expect_nothing()
    undo.reply(succeeded())
    saga.ends("compensated")
