"""The pivot: before it a saga can go back, after it only forward, in doubt neither."""

from amends_contracts.messages import Outcome
from amends_contracts.names import Op
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Refused
from core.dsl import (
    action,
    bad_output,
    definition,
    failed,
    found,
    given,
    parallel,
    succeeded,
    unknown,
)

FOREVER = {"max_attempts": None}
PAID = definition(
    action("flight"),
    action("card", pivot=True, reversal="irreversible", probe=True, retry={"max_attempts": 2}),
    action("mail", retry=FOREVER),
)


def test_after_the_pivot_a_step_is_retried_until_it_succeeds() -> None:
    """Nothing is compensated automatically any more."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(succeeded())
    for attempt in range(1, 20):
        saga.expect("mails.do", attempt=attempt).reply(failed(retryable=True))
        saga.wakes()
    saga.expect("mails.do", attempt=20).reply(succeeded())
    saga.ends("completed")


def test_after_the_pivot_a_cancel_is_refused() -> None:
    """409 past-pivot."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(succeeded())
    refused = saga.cancels()
    assert isinstance(refused, Refused)
    assert refused.type == ProblemType.PAST_PIVOT


def test_after_the_pivot_the_deadline_only_alarms() -> None:
    """Once."""
    what = definition(action("card", pivot=True), action("mail", retry=FOREVER), deadline="PT5M")
    saga = given(what)
    saga.expect("cards.do").reply(succeeded())
    mail = saga.expect("mails.do")
    for _ in range(8):
        saga.after(minutes=1)
    assert saga.kinds().count("saga.overdue") == 1
    saga.is_now("running")
    mail.reply(succeeded())
    saga.is_now("completed")


def test_after_the_pivot_a_final_failure_is_stuck_and_the_other_branch_goes_on() -> None:
    """An operator retries, skips, or says that it succeeded."""
    what = definition(
        action("card", pivot=True),
        parallel("p", a=[action("mail", retry=FOREVER)], b=[action("log"), action("bill")]),
    )
    saga = given(what)
    saga.expect("cards.do").reply(succeeded())
    mail = saga.expect("mails.do")
    mail.reply(failed())
    saga.is_now("running")
    saga.expect("logs.do").reply(succeeded())
    saga.expect("bills.do").reply(succeeded())
    saga.is_now("stuck")
    assert isinstance(saga.resolves("mail", Outcome.FAILED), Refused)
    saga.retries("mail")
    saga.is_now("running")
    saga.expect("mails.do", attempt=2).reply(succeeded())
    saga.ends("completed")


def test_a_cancel_while_the_pivot_is_in_flight_waits_for_its_outcome() -> None:
    """It failed: the saga turns back because of the cancel, without another attempt."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    card = saga.expect("cards.do")
    saga.cancels()
    saga.is_now("running")
    saga.after(seconds=30)
    saga.expect_nothing()
    card.reply(failed("busy", retryable=True))
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.CANCELLED


def test_a_cancel_lapses_when_the_pivot_turns_out_to_have_succeeded() -> None:
    """It came too late, and that is journalled."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    card = saga.expect("cards.do")
    saga.cancels()
    card.reply(succeeded())
    assert "saga.stop-lapsed" in saga.kinds()
    saga.expect("mails.do").reply(succeeded())
    saga.ends("completed")


def test_a_pivot_in_doubt_is_probed_and_retried_before_any_direction_is_taken() -> None:
    """Absent, and cancelled meanwhile: back."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do")
    saga.after(minutes=1)
    probe = saga.expect("cards.do", op=Op.PROBE)
    saga.cancels()
    saga.is_now("running")
    probe.reply(found("absent"))
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_pivot_whose_doubt_is_exhausted_is_undone_as_unknown_if_it_can_be() -> None:
    """It declares a compensation."""
    saga = given(
        definition(action("flight"), action("card", pivot=True, retry={"max_attempts": 1}))
    )
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(unknown())
    saga.expect("cards.undo").reply(succeeded())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_pivot_whose_doubt_is_exhausted_is_stuck_if_it_cannot_be_undone() -> None:
    """Also when somebody cancels: its outcome decides, and an operator supplies it."""
    what = definition(
        action("flight"),
        action("card", pivot=True, reversal="irreversible", retry={"max_attempts": 1}),
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(unknown())
    saga.is_now("stuck")
    saga.expect_nothing()
    saga.cancels()
    saga.is_now("stuck")
    saga.resolves("card", Outcome.FAILED)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_pivot_without_a_usable_output_waits_for_an_operator_to_supply_it() -> None:
    """Its effect is there: nothing may be undone, and what follows may need the output."""
    saga = given(definition(action("card", pivot=True), action("mail", retry=FOREVER)))
    saga.expect("cards.do").reply(bad_output())
    saga.is_now("stuck")
    assert isinstance(saga.retries("card"), Refused)
    saga.resolves("card", Outcome.SUCCEEDED, {"id": "c-1"})
    saga.expect("mails.do").reply(succeeded())
    saga.ends("completed")


def test_a_pivot_skipped_by_an_operator_lets_a_waiting_cancel_happen() -> None:
    """Nobody will say any more what became of it: its effect has an owner, the rest is undone."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do")
    saga.cancels()
    saga.skips("card")
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated", residue=1)
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.CANCELLED


def test_a_condition_is_asked_again_when_an_operator_retries_it() -> None:
    """A step whose `when` failed after the pivot is not simply sent."""
    what = definition(
        action("card", pivot=True),
        action("mail", when="${ steps.card.output.n > 1 }", retry=FOREVER),
    )
    saga = given(what)
    saga.expect("cards.do").reply(succeeded(n="text"))
    saga.is_now("stuck")
    saga.retries("mail")
    saga.is_now("stuck")
    saga.expect_nothing()
    saga.skips("mail")
    saga.ends("completed")
