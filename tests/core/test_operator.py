"""Operators: suspend, resume, retry, skip, resolve, cancel, and what engine faults do."""

import pytest

from amends_contracts.messages import Outcome
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import Decision, Refused
from amends_orchestrator.core.inputs import Fault
from core.dsl import action, choice, definition, failed, given, parallel, succeeded, unknown

CHAIN = definition(action("flight"), action("card"))


def test_while_suspended_replies_are_recorded_and_nothing_is_dispatched() -> None:
    """Until it is resumed."""
    saga = given(CHAIN)
    flight = saga.expect("flights.do")
    saga.suspends()
    saga.is_now("suspended")
    flight.reply(succeeded())
    assert saga.status("flight") == "succeeded"
    saga.expect_nothing()
    saga.resumes()
    saga.is_now("running")
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")


def test_while_suspended_timeouts_expire_and_the_saga_is_looked_at_hourly() -> None:
    """Time does not stand still."""
    saga = given(CHAIN)
    saga.expect("flights.do")
    saga.suspends()
    saga.after(minutes=1)
    assert saga.status("flight") == "retrying"
    for _ in range(3):
        before = saga.now
        saga.after(hours=1)
        assert saga.now > before
    saga.expect_nothing()
    saga.resumes()
    saga.expect("flights.do", attempt=2)


def test_a_suspended_saga_that_fails_turns_back_and_undoes_after_the_resume() -> None:
    """Also a cancel is recorded while suspended."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    card = saga.expect("cards.do")
    saga.suspends()
    card.reply(failed())
    saga.is_now("suspended")
    saga.expect_nothing()
    saga.resumes()
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_suspending_and_resuming_twice_changes_nothing() -> None:
    """Refused as a duplicate."""
    saga = given(CHAIN)
    assert isinstance(saga.resumes(), Refused)
    saga.suspends()
    again = saga.suspends()
    assert isinstance(again, Refused)
    assert again.duplicate


def test_a_cancel_undoes_and_a_second_one_is_a_duplicate() -> None:
    """Compensation is not cancellable."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(failed(retryable=True))
    saga.cancels()
    undo = saga.expect("flights.undo")
    again = saga.cancels()
    assert isinstance(again, Refused)
    assert again.duplicate
    undo.reply(succeeded())
    saga.ends("compensated")


def test_an_operators_retry_goes_on_counting_and_gives_a_new_budget() -> None:
    """Attempts never restart."""
    what = definition(action("card", pivot=True), action("mail", retry={"max_attempts": 2}))
    saga = given(what)
    saga.expect("cards.do").reply(succeeded())
    saga.expect("mails.do").reply(failed(retryable=True))
    saga.wakes()
    saga.expect("mails.do", attempt=2).reply(failed(retryable=True))
    saga.is_now("stuck")
    saga.retries("mail")
    saga.expect("mails.do", attempt=3).reply(failed(retryable=True))
    saga.wakes()
    saga.expect("mails.do", attempt=4).reply(succeeded())
    saga.ends("completed")


def test_a_retry_of_what_is_in_flight_does_not_forget_that_it_is() -> None:
    """Suspended and cancelled before the retry went out: the first attempt may take effect."""
    saga = given(CHAIN)
    saga.expect("flights.do")
    saga.suspends()
    saga.retries("flight")
    saga.cancels()
    saga.resumes()
    saga.expect("flights.undo", output=None).reply(succeeded())
    saga.ends("compensated")


def test_a_skipped_step_in_flight_leaves_residue_and_later_replies_are_refused() -> None:
    """Its effect may be there and has an owner now; it is not undone either."""
    saga = given(CHAIN)
    flight = saga.expect("flights.do")
    saga.skips("flight")
    assert isinstance(flight.reply(succeeded()), Refused)
    saga.expect("cards.do").reply(failed())
    saga.ends("compensated", residue=1)


def test_a_skipped_step_that_is_known_not_to_have_changed_anything_leaves_none() -> None:
    """Between two attempts after `failed`."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(failed(retryable=True))
    saga.skips("flight")
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")


def test_a_resolved_step_in_flight_goes_on_with_the_supplied_output() -> None:
    """And its participant's own answer is refused."""
    what = definition(action("flight"), action("card", input={"c": "${ steps.flight.output.c }"}))
    saga = given(what)
    flight = saga.expect("flights.do")
    saga.resolves("flight", Outcome.SUCCEEDED, {"c": "A9"})
    assert isinstance(flight.reply(failed()), Refused)
    saga.expect("cards.do", c="A9").reply(succeeded())
    saga.ends("completed")


def test_a_step_resolved_as_failed_turns_the_saga_back() -> None:
    """An operator knows that nothing changed."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do")
    saga.resolves("card", Outcome.FAILED)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


@pytest.mark.parametrize("step", ["flight", "card", "nobody"])
def test_actions_on_steps_without_an_open_operation_are_refused(step: str) -> None:
    """Settled, not begun, not there."""
    saga = given(CHAIN)
    saga.expect("flights.do").reply(succeeded())
    if step == "card":
        saga.expect("cards.do").reply(succeeded())
    for act in (saga.retries, saga.skips):
        assert isinstance(act(step), Refused)


def test_an_engine_fault_makes_the_saga_stuck_until_it_is_resumed() -> None:
    """Shown, not lost; nothing moves by time meanwhile."""
    saga = given(CHAIN)
    saga.expect("flights.do")
    fault = Fault(problem=Problem(type=ProblemType.ENGINE_FAULT, title="KeyError"))
    saga.receive(fault)
    saga.is_now("stuck")
    again = saga.receive(fault)
    assert isinstance(again, Refused)
    assert again.duplicate
    saga.after(hours=2)
    assert saga.status("flight") == "running"
    saga.resumes()
    saga.is_now("running")
    saga.after(seconds=1)
    saga.wakes()
    saga.expect("flights.do", attempt=2)


def test_a_choice_that_cannot_be_evaluated_after_the_pivot_waits_for_an_operator() -> None:
    """It can be skipped; a retry evaluates it again."""
    what = definition(
        action("card", pivot=True),
        choice("way", ("${ steps.card.output.n > 1 }", [action("mail")])),
    )
    saga = given(what)
    saga.expect("cards.do").reply(succeeded(n="text"))
    saga.is_now("stuck")
    saga.retries("way")
    saga.is_now("stuck")
    saga.skips("way")
    saga.ends("completed")


def test_a_blocked_action_of_a_saga_that_turned_back_can_be_undone_as_unknown() -> None:
    """`amends:key-reused` while interrupted; the retry of an operator means: undo it."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    flight.reply(unknown("amends:key-reused"))
    saga.is_now("stuck")
    saga.retries("flight")
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_an_ended_saga_refuses_everything() -> None:
    """Terminal states absorb."""
    saga = given(definition(action("flight")))
    flight = saga.expect("flights.do")
    flight.reply(succeeded())
    saga.ends("completed")
    for answer in (
        flight.reply(succeeded()),
        saga.cancels(),
        saga.suspends(),
        saga.skips("flight"),
    ):
        assert isinstance(answer, Refused)


def test_a_reply_of_another_service_is_refused() -> None:
    """The service in the routing key must be the step's."""
    saga = given(CHAIN)
    flight = saga.expect("flights.do")
    refused = flight.reply(succeeded(), service="cards")
    assert isinstance(refused, Refused)
    assert not refused.duplicate
    assert isinstance(flight.reply(succeeded()), Decision)


def test_a_duplicate_reply_writes_nothing() -> None:
    """Refused, as a duplicate."""
    saga = given(CHAIN)
    flight = saga.expect("flights.do")
    flight.reply(succeeded())
    refused = flight.reply(succeeded())
    assert isinstance(refused, Refused)
    assert refused.duplicate
