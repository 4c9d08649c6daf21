"""A participant that does not answer: new attempts wait and use none, undos go out."""

from datetime import timedelta

from amends_orchestrator.core import Decision
from amends_orchestrator.core.decision import GiveBack, Take
from amends_orchestrator.core.view import saga_view
from core.dsl import action, definition, failed, given, parallel, succeeded

SICK = {"hotels": timedelta(seconds=30)}
CHAIN = definition(action("flight"), action("hotel"))


def test_an_attempt_waits_for_a_sick_participant_and_uses_none() -> None:
    """Held for as long as it is to be left alone, and up to as long again: not all at once."""
    saga = given(CHAIN)
    saga.sick = SICK
    saga.expect("flights.do").reply(succeeded())
    saga.expect_nothing()
    due = saga.step("hotel").action.due
    assert saga.status("hotel") == "pending"
    assert due is not None
    assert timedelta(seconds=30) <= due - saga.now <= timedelta(seconds=60)
    (_, step) = saga_view(saga.plan, saga.saga, saga.rows).steps
    assert step["reason"].startswith("participant: hotels does not answer; looked at again at")
    saga.wakes()
    assert saga.kinds().count("step.held hotel") == 2
    saga.sick = {}
    saga.wakes()
    saga.expect("hotels.do", attempt=1).reply(succeeded())
    saga.ends("completed")


def test_other_participants_are_not_held_off() -> None:
    """Nobody stands in another's way."""
    saga = given(
        definition(action("visa"), parallel("p", a=[action("flight")], b=[action("hotel")]))
    )
    saga.sick = SICK
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(succeeded())
    saga.expect_nothing()


def test_an_undo_goes_out_to_a_sick_participant() -> None:
    """It has a lane and a backoff of its own."""
    saga = given(definition(action("hotel"), action("card")))
    saga.expect("hotels.do").reply(succeeded())
    saga.sick = SICK
    saga.expect("cards.do").reply(failed())
    saga.expect("hotels.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_saga_that_turns_back_waits_for_nobody() -> None:
    """What was held has changed nothing."""
    saga = given(CHAIN)
    saga.sick = SICK
    saga.expect("flights.do").reply(succeeded())
    saga.cancels()
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_an_operators_retry_is_sent_at_once() -> None:
    """A person may know better."""
    saga = given(CHAIN)
    saga.sick = SICK
    saga.expect("flights.do").reply(succeeded())
    saga.retries("hotel")
    saga.expect("hotels.do").reply(succeeded())
    saga.ends("completed")


def test_a_place_among_those_at_work_is_not_kept_while_it_is_held() -> None:
    """It asks anew when its participant is back."""
    saga = given(definition(action("hotel", limit={"concurrency": 1})))
    saga.sick = SICK
    held = saga.grants("hotel")
    assert isinstance(held, Decision)
    assert [type(change) for change in held.permits] == [Take, GiveBack]
    saga.sick = {}
    saga.wakes()
    saga.grants("hotel")
    saga.expect("hotels.do").reply(succeeded())
    saga.ends("completed")
