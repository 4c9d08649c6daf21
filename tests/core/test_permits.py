"""Permits: a step with a limit waits without a timeout, and gives its place back when settled."""

from datetime import timedelta
from typing import Any

from amends_contracts.messages import Outcome
from amends_contracts.names import StepPath
from amends_orchestrator.core import Decision, Refused
from amends_orchestrator.core.decision import Ask, GiveBack, Take
from amends_orchestrator.core.view import saga_view
from core.dsl import (
    BEGAN,
    Scenario,
    action,
    definition,
    failed,
    given,
    parallel,
    succeeded,
    unknown,
)

FIVE = {"key": "${ input.tenant }", "concurrency": 5}
HOTEL = StepPath("hotel")


def limited(**fields: Any) -> dict[str, Any]:
    """Step `hotel` of service `hotels`, five at a time for each tenant."""
    return action("hotel", limit=FIVE, **fields)


def test_a_step_with_a_limit_asks_and_sends_nothing() -> None:
    """The request goes with the decision; the pool is the participant unless it has a name."""
    saga = given(definition(limited()), tenant="acme")
    saga.expect_nothing()
    assert saga.status("hotel") == "pending"
    assert saga.asks("hotel") == Ask(
        path=HOTEL, ask=2, pool="hotels", key="acme", since=BEGAN, concurrency=5
    )


def test_a_grant_sends_the_command_and_the_end_gives_the_place_back() -> None:
    """Both with the decision that says so in the journal."""
    saga = given(definition(limited()), tenant="acme")
    granted = saga.grants("hotel")
    assert isinstance(granted, Decision)
    assert granted.permits == (Take(HOTEL, 2),)
    done = saga.expect("hotels.do", attempt=1).reply(succeeded())
    assert isinstance(done, Decision)
    assert done.permits == (GiveBack(HOTEL, 2),)
    saga.ends("completed")
    assert saga.kinds() == [
        "saga.started",
        "step.queued hotel",
        "step.permitted hotel",
        "step.dispatched hotel",
        "step.succeeded hotel",
        "saga.completed",
    ]


def test_the_timeout_of_a_step_does_not_run_while_it_waits() -> None:
    """A day in the queue is no failure."""
    saga = given(definition(limited(timeout="PT30S")), tenant="acme")
    saga.after(days=1)
    saga.expect_nothing()
    saga.grants("hotel")
    assert saga.expect("hotels.do").send.deadline == saga.now + timedelta(seconds=30)


def test_a_request_that_nobody_answers_is_made_anew_with_its_old_place() -> None:
    """No saga is silent: within the hour the old request is withdrawn for a new one."""
    saga = given(definition(limited()), tenant="acme")
    again = saga.after(hours=1)
    assert isinstance(again, Decision)
    assert again.permits == (
        GiveBack(HOTEL, 2),
        Ask(path=HOTEL, ask=3, pool="hotels", key="acme", since=BEGAN, concurrency=5),
    )
    assert isinstance(saga.grants("hotel", ask=2), Refused)
    saga.grants("hotel")
    saga.expect("hotels.do").reply(succeeded())
    saga.ends("completed")


def test_a_second_grant_changes_nothing() -> None:
    """A message that comes twice."""
    saga = given(definition(limited()), tenant="acme")
    saga.grants("hotel")
    refused = saga.grants("hotel", ask=2)
    assert isinstance(refused, Refused)
    assert refused.duplicate


def test_after_a_known_failure_the_next_attempt_asks_anew() -> None:
    """Nothing of it is at work while it waits for its next try."""
    saga = given(definition(limited()), tenant="acme")
    saga.grants("hotel")
    again = saga.expect("hotels.do").reply(failed(retryable=True))
    assert isinstance(again, Decision)
    assert again.permits == (GiveBack(HOTEL, 2),)
    saga.wakes()
    assert saga.status("hotel") == "pending"
    assert saga.asks("hotel").since == saga.now
    saga.grants("hotel")
    saga.expect("hotels.do", attempt=2).reply(succeeded())
    saga.ends("completed")


def test_what_is_in_doubt_keeps_its_place() -> None:
    """The participant may still be at work on it."""
    saga = given(definition(limited(probe=True)), tenant="acme")
    saga.grants("hotel")
    saga.expect("hotels.do").reply(unknown())
    assert saga.permits == {(HOTEL, 2): Take(HOTEL, 2)}
    saga.resolves("hotel", Outcome.SUCCEEDED)
    assert saga.permits == {}


def test_a_saga_that_turns_back_withdraws_at_once() -> None:
    """It waits for nobody, and there is nothing to undo."""
    what = definition(parallel("p", a=[limited()], b=[action("flight")]))
    saga = given(what, tenant="acme")
    turned = saga.expect("flights.do").reply(failed())
    assert isinstance(turned, Decision)
    assert turned.permits == (GiveBack(HOTEL, 2),)
    saga.ends("compensated")
    assert saga.status("hotel") == "failed"


def test_an_undo_needs_no_permit() -> None:
    """Compensations never wait behind new work."""
    saga = given(definition(limited(), action("card")), tenant="acme")
    saga.grants("hotel")
    saga.expect("hotels.do").reply(succeeded())
    saga.expect("cards.do").reply(failed())
    saga.expect("hotels.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_cancel_turns_a_saga_back_whose_pivot_waits() -> None:
    """A pivot in the queue has changed nothing."""
    saga = given(definition(limited(pivot=True)), tenant="acme")
    saga.cancels()
    saga.ends("compensated")


def test_a_late_reply_to_a_failed_attempt_changes_nothing_while_the_next_one_waits() -> None:
    """The broker may deliver it twice."""
    saga = given(definition(limited()), tenant="acme")
    saga.grants("hotel")
    first = saga.expect("hotels.do")
    first.reply(failed(retryable=True))
    saga.wakes()
    assert isinstance(first.reply(failed(retryable=True)), Refused)


def test_an_operator_may_skip_a_step_that_waits() -> None:
    """It leaves the queue, and no residue."""
    saga = given(definition(limited(), action("card")), tenant="acme")
    saga.skips("hotel")
    assert saga.permits == {}
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")


def test_a_key_that_is_no_text_or_number_fails_the_step() -> None:
    """Said as what it is."""
    saga = given(definition(limited()), tenant=None)
    saga.ends("compensated")
    assert saga.step("hotel").problem == "amends:bad-expression"


def test_a_long_key_is_its_digest() -> None:
    """So that it fits an index."""
    saga = given(definition(limited()), tenant="é" * 201)
    assert len(saga.asks("hotel").key) == 64


def test_the_view_says_what_a_step_waits_for_and_since_when() -> None:
    """Pending, with its reason."""
    saga = given(definition(limited()), tenant="acme")
    assert _reason(saga) == (
        "permit: waits for a place at hotels for acme since 2026-03-01T12:00:00.000+00:00"
    )
    saga.suspends()
    assert _reason(saga) == "the saga is suspended"


def _reason(saga: Scenario) -> object:
    (step,) = saga_view(saga.plan, saga.saga, saga.rows).steps
    assert step["status"] == "pending"
    return step["reason"]
