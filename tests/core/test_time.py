"""Retries, timeouts, progress, deadlines, undeliverable commands: never early, never silent."""

from dataclasses import replace
from datetime import timedelta

import pytest

from amends_contracts.definition import Retry
from amends_contracts.messages import Outcome
from amends_contracts.names import SagaId, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import Decision, Refused, decide
from amends_orchestrator.core.inputs import ReplyReceived, Woke
from amends_orchestrator.core.retries import ceiling, delay, fraction
from core.dsl import action, definition, failed, given, parallel, progress, succeeded, unknown


def test_jitter_is_the_same_for_the_same_arguments_and_spread_otherwise() -> None:
    """A pure function of saga, path, operation and attempt."""
    one = fraction(SagaId("s"), StepPath("a"), "action", 1)
    assert one == fraction(SagaId("s"), StepPath("a"), "action", 1)
    many = [fraction(SagaId(str(n)), StepPath("a"), "action", 1) for n in range(1000)]
    assert 0.45 < sum(many) / 1000 < 0.55
    assert min(many) < 0.05
    assert max(many) > 0.95


@pytest.mark.parametrize(("n", "seconds"), [(1, 1), (2, 2), (3, 4), (10, 60), (5000, 60)], ids=str)
def test_backoff_doubles_up_to_its_maximum(n: int, seconds: float) -> None:
    """Also where the power no longer fits into a float."""
    assert ceiling(Retry(), n) == timedelta(seconds=seconds)


def test_retry_after_is_honoured() -> None:
    """At least as long as the participant asks for."""
    assert delay(Retry(), 1, 0.5, timedelta(seconds=7)) == timedelta(seconds=7)
    saga = given(definition(action("flight")))
    saga.expect("flights.do").reply(failed(retryable=True, retry_after_s=20))
    saga.after(seconds=19.9)
    saga.expect_nothing()
    saga.after(seconds=0.1)
    saga.expect("flights.do", attempt=2)


def test_nothing_happens_before_its_time() -> None:
    """A saga woken early writes nothing."""
    saga = given(definition(action("flight")))
    saga.expect("flights.do")
    saga.now += timedelta(seconds=59.999)
    early = saga.receive(Woke())
    assert isinstance(early, Decision)
    assert early.rows == ()


def test_attempts_are_counted_and_the_last_failure_turns_the_saga_back() -> None:
    """`max_attempts` 3 by default."""
    saga = given(definition(action("flight")))
    for attempt in (1, 2, 3):
        saga.expect("flights.do", attempt=attempt).reply(failed(retryable=True))
        if attempt < 3:
            saga.wakes()
    saga.ends("compensated")


def test_progress_restarts_the_timeout_ten_times_at_most() -> None:
    """And writes at most one row per ten seconds."""
    saga = given(definition(action("flight", timeout="PT30S")))
    flight = saga.expect("flights.do")
    flight.reply(progress())
    assert isinstance(flight.reply(progress()), Refused)
    for _ in range(9):
        saga.now += timedelta(seconds=20)
        assert isinstance(flight.reply(progress()), Decision)
    saga.now += timedelta(seconds=20)
    assert isinstance(flight.reply(progress()), Refused)
    saga.after(seconds=10)
    assert saga.status("flight") == "retrying"


def test_a_participant_that_reports_in_time_does_not_expire_by_the_coalescing_of_rows() -> None:
    """A short timeout: every report within it counts, though not every one is written."""
    saga = given(definition(action("flight", timeout="PT5S")))
    flight = saga.expect("flights.do")
    for _ in range(20):
        saga.now += timedelta(seconds=4)
        saga.receive(Woke())
        flight.reply(progress())
    assert saga.status("flight") == "running"


def test_progress_never_extends_beyond_the_deadline() -> None:
    """The deadline is the saga's."""
    saga = given(definition(action("flight", timeout="PT1M"), deadline="PT90S"))
    flight = saga.expect("flights.do")
    saga.now += timedelta(seconds=50)
    flight.reply(progress())
    assert saga.step("flight").action.due == saga.saga.state.deadline


def test_the_deadline_turns_the_saga_back() -> None:
    """Never straight to an end."""
    saga = given(definition(action("flight"), action("card", timeout="PT1H"), deadline="PT10M"))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do")
    saga.after(minutes=10)
    saga.is_now("compensating")
    saga.after(seconds=10)
    saga.expect("cards.undo").reply(succeeded())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.DEADLINE


def test_a_returned_command_is_sent_again_without_using_an_attempt() -> None:
    """Pending, shown as undeliverable, with backoff."""
    saga = given(definition(action("flight", retry={"max_attempts": 1})))
    for _ in range(20):
        saga.expect("flights.do", attempt=1).returned()
        assert saga.status("flight") == "pending"
        assert saga.saga.undeliverable == 1
        saga.wakes()
    saga.expect("flights.do", attempt=1).reply(succeeded())
    saga.ends("completed")


def test_what_nobody_got_needs_no_undo() -> None:
    """Returned at its only publication, and the saga turned back."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    saga.expect("flights.do").returned(never_delivered=True)
    saga.expect("hotels.do").reply(failed())
    saga.ends("compensated")
    assert saga.status("flight") == "failed"


def test_what_somebody_may_have_got_is_undone_as_unknown() -> None:
    """An earlier publication of the returned command may have arrived."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    saga.expect("flights.do").returned()
    saga.expect("hotels.do").reply(failed())
    undo = saga.expect("flights.undo")
    undo.returned()
    saga.wakes()
    saga.expect("flights.undo", attempt=1).reply(succeeded())
    saga.ends("compensated")


def test_a_full_journal_has_a_clear_end() -> None:
    """Forward it turns back; what cannot be undone any more waits for an operator."""
    what = definition(action("flight"), action("card", retry={"max_attempts": None}))
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    state = saga.saga.state._replace(rows_max=len(saga.rows) + 1)
    saga.saga = replace(saga.saga, state=state)
    # the journal's own limit is 10,000; a lowered one is no part of the journal, so the fold
    # is not compared here
    card = saga.expect("cards.do").send
    reply = ReplyReceived(
        path=card.path,
        op=card.op,
        attempt=1,
        service="cards",
        outcome=Outcome.FAILED,
        problem=Problem(type="busy"),
        retryable=True,
    )
    values = {row.seq: row.data for row in saga.rows}
    answer = decide(saga.plan, saga.saga, values, reply, saga.now)
    assert isinstance(answer, Decision)
    assert answer.saga.status == "compensating"
    assert answer.saga.state.failure is not None
    assert answer.saga.state.failure.type == ProblemType.JOURNAL_FULL
    assert [send.command for send in answer.sends] == ["flights.undo"]


def test_unknown_replies_after_the_interruption_are_not_retried() -> None:
    """Going back, an `unknown` is settled as such at once."""
    saga = given(definition(parallel("p", a=[action("flight")], b=[action("hotel")])))
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    flight.reply(unknown())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_full_journal_after_the_pivot_waits_for_an_operator_who_grants_more() -> None:
    """There is no way back: stuck, and a retry allows a thousand rows more."""
    mail = action("mail", retry={"max_attempts": None, "initial": "PT1S", "max": "PT1S"})
    saga = given(definition(action("card", pivot=True), mail))
    saga.checked = False  # ten thousand replays of ten thousand rows would take long
    saga.expect("cards.do").reply(succeeded())
    while saga.saga.status == "running":
        saga.expect("mails.do").reply(failed("busy", retryable=True))
        if saga.saga.status == "running":
            saga.wakes()
    saga.is_now("stuck")
    assert 10_000 <= len(saga.rows) <= 10_010
    saga.checked = True
    saga.unanswered.clear()
    saga.retries("mail")
    saga.expect("mails.do").reply(succeeded())
    saga.ends("completed")
