"""Signals and the steps that await them: early, late, twice, too many, and never."""

from datetime import timedelta

from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Decision, Refused
from amends_orchestrator.core.state import SIGNALS_MAX
from core.dsl import (
    BEGAN,
    Scenario,
    action,
    awaits,
    definition,
    failed,
    given,
    parallel,
    succeeded,
)

PAID = definition(
    action("flight"),
    awaits("payment", "paid"),
    action("mail", input={"usd": "${ steps.payment.output.usd }"}),
)


def refused(answer: Decision | Refused) -> tuple[ProblemType, bool]:
    """Why, and whether it is a mere repetition."""
    assert isinstance(answer, Refused), answer
    return answer.type, answer.duplicate


def waiting() -> Scenario:
    """The payment is awaited."""
    saga = given(PAID)
    saga.expect("flights.do").reply(succeeded())
    saga.expect_nothing()
    return saga


def test_a_step_waits_for_its_event_and_gives_its_data() -> None:
    """The output of an await is the data of its signal."""
    saga = waiting()
    assert saga.status("payment") == "running"
    saga.signals("paid", "p-1", {"usd": 7})
    saga.expect("mails.do", usd=7).reply(succeeded())
    saga.ends("completed")
    assert saga.kinds()[3:6] == [
        "step.awaiting payment",
        "signal.received",
        "step.signalled payment",
    ]


def test_an_event_that_came_early_is_kept() -> None:
    """The signal is recorded before any step awaits it."""
    saga = given(PAID)
    saga.signals("paid", "p-1", {"usd": 7})
    saga.expect("flights.do").reply(succeeded())
    saga.expect("mails.do", usd=7)


def test_the_same_signal_again_changes_nothing() -> None:
    """Signals are known by their id, also after the saga's end."""
    saga = waiting()
    saga.signals("paid", "p-1", {"usd": 7})
    rows = len(saga.rows)
    assert refused(saga.signals("paid", "p-1", {"usd": 7})) == (ProblemType.WRONG_STATE, True)
    assert len(saga.rows) == rows
    saga.expect("mails.do").reply(succeeded())
    assert refused(saga.signals("paid", "p-1", {"usd": 7})) == (ProblemType.WRONG_STATE, True)


def test_an_id_with_other_data_is_refused() -> None:
    """Two facts cannot have one id."""
    saga = waiting()
    saga.signals("paid", "p-1", {"usd": 7})
    assert refused(saga.signals("paid", "p-1", {"usd": 8})) == (ProblemType.KEY_CONFLICT, False)


def test_one_signal_satisfies_one_step() -> None:
    """Two steps that await the same event need two; each takes the oldest that is left."""
    saga = given(
        definition(
            parallel("both", a=[awaits("first", "paid")], b=[awaits("second", "paid")]),
            action("mail", input={"n": ["${ steps.first.output }", "${ steps.second.output }"]}),
        )
    )
    saga.signals("paid", "p-1", 1)
    assert (saga.status("first"), saga.status("second")) == ("succeeded", "running")
    saga.expect_nothing()
    saga.signals("paid", "p-2", 2)
    saga.expect("mails.do", n=[1, 2])


def test_a_signal_without_data_gives_null() -> None:
    """Data is optional."""
    saga = given(definition(awaits("go", "started"), output={"got": "${ steps.go.output }"}))
    saga.signals("started", "s-1")
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": {"got": None}}


def test_an_event_that_does_not_come_in_time_turns_the_saga_back() -> None:
    """`on_timeout: compensate`, the default; not a moment before its time."""
    saga = given(definition(action("flight"), awaits("payment", "paid", timeout="PT1H")))
    saga.expect("flights.do").reply(succeeded())
    assert saga.saga.wake_at == BEGAN + timedelta(hours=1)
    saga.after(minutes=59, seconds=59)
    saga.expect_nothing()
    saga.after(seconds=1)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.status("payment") == "failed"
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == "amends:timeout"


def test_an_event_that_may_be_missed_is() -> None:
    """`on_timeout: ignore`: the plan goes on without its data."""
    payment = awaits("payment", "paid", timeout="PT1H", on_timeout="ignore")
    saga = given(definition(payment, action("mail", input={"p": "${ steps.payment.output }"})))
    saga.after(hours=1)
    saga.expect("mails.do", p=None).reply(succeeded())
    saga.ends("completed")


def test_a_signal_at_the_moment_of_the_timeout_counts_if_it_is_decided_first() -> None:
    """What is decided first holds; the other finds it settled."""
    late, early = (given(definition(awaits("payment", "paid", timeout="PT1H"))) for _ in "ab")
    early.now += timedelta(hours=1)
    early.signals("paid", "p-1")
    early.ends("completed")
    late.after(hours=1)
    assert refused(late.signals("paid", "p-1")) == (ProblemType.WRONG_STATE, False)
    late.ends("compensated")


def test_a_saga_that_turns_back_waits_no_longer() -> None:
    """A running await is withdrawn at once; nothing of it is undone."""
    saga = waiting()
    saga.cancels()
    assert saga.status("payment") == "skipped"
    assert "step.withdrawn payment" in saga.kinds()
    assert refused(saga.signals("paid", "p-1")) == (ProblemType.WRONG_STATE, False)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert refused(saga.signals("paid", "p-1")) == (ProblemType.WRONG_STATE, False)


def test_a_failure_beside_it_withdraws_it() -> None:
    """The branch that waits does not hold up the undoing of what precedes the parallel."""
    saga = given(
        definition(
            action("flight"),
            parallel("both", a=[awaits("payment", "paid")], b=[action("hotel")]),
        )
    )
    saga.expect("flights.do").reply(succeeded())
    saga.expect("hotels.do").reply(failed())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_saga_that_waits_without_end_is_looked_at_every_hour() -> None:
    """No saga is silent: an await without a timeout has a time to wake, too."""
    saga = waiting()
    assert saga.saga.wake_at == BEGAN + timedelta(hours=1)
    rows = len(saga.rows)
    saga.wakes()
    assert len(saga.rows) == rows


def test_an_event_that_no_step_awaits_is_refused_with_those_that_one_does() -> None:
    """A misspelt event is not kept for nobody."""
    answer = waiting().signals("payed", "p-1")
    assert isinstance(answer, Refused)
    assert (answer.type, answer.detail) == (
        ProblemType.BAD_REQUEST,
        "no step of test@1 awaits 'payed': it awaits paid",
    )


def test_a_suspended_saga_records_a_signal_and_goes_on_when_it_is_resumed() -> None:
    """Recorded, not acted upon."""
    saga = waiting()
    saga.suspends()
    saga.signals("paid", "p-1", {"usd": 7})
    saga.expect_nothing()
    saga.resumes()
    saga.expect("mails.do", usd=7)


def test_a_suspended_saga_still_times_out() -> None:
    """As the timeouts of all steps do."""
    saga = given(definition(action("flight"), awaits("payment", "paid", timeout="PT1H")))
    saga.expect("flights.do").reply(succeeded())
    saga.suspends()
    saga.after(hours=1)
    assert saga.status("payment") == "failed"
    saga.expect_nothing()
    saga.resumes()
    saga.expect("flights.undo")


def test_an_await_after_the_pivot_only_ever_waits() -> None:
    """A cancel is refused, and the event is taken when it comes."""
    saga = given(definition(action("card", pivot=True), awaits("parcel", "packed")))
    saga.expect("cards.do").reply(succeeded())
    assert refused(saga.cancels()) == (ProblemType.PAST_PIVOT, False)
    saga.signals("packed", "s-1")
    saga.ends("completed")


def test_an_operator_skips_a_wait_or_gives_it_more_time() -> None:
    """Retry begins its timeout anew; skip goes on without the event; resolve is the signal's."""
    saga = given(definition(awaits("payment", "paid", timeout="PT1H"), action("mail")))
    saga.now += timedelta(minutes=50)
    saga.retries("payment")
    saga.after(minutes=59)
    assert saga.status("payment") == "running"
    saga.skips("payment")
    assert (saga.status("payment"), saga.saga.residue) == ("skipped", 0)
    saga.expect("mails.do")


def test_a_saga_takes_so_many_signals_and_no_more() -> None:
    """Their ids stand in its state, which every decision writes."""
    saga = given(PAID)
    saga.checked = False
    for n in range(SIGNALS_MAX):
        assert isinstance(saga.signals("paid", f"p-{n}"), Decision)
    assert refused(saga.signals("paid", "one more")) == (ProblemType.OVERLOADED, False)


def test_an_await_whose_condition_does_not_hold_is_skipped() -> None:
    """`when`, as for every step."""
    saga = given(definition(awaits("payment", "paid", when="${ input.pay }")), pay=False)
    saga.ends("completed")
    assert saga.status("payment") == "skipped"
