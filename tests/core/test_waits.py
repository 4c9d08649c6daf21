"""`wait`: when it passes, and what withdraws or ends it."""

import pytest

from amends_contracts.messages import Outcome
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Refused
from core.dsl import action, definition, each, failed, given, parallel, succeeded, wait


def test_a_wait_passes_after_its_time_and_not_before() -> None:
    """By the clock that decisions are made by."""
    saga = given(definition(wait("w", **{"for": "PT1H"}), action("a")))
    assert saga.status("w") == "running"
    saga.after(minutes=59)
    saga.expect_nothing()
    saga.after(minutes=1)
    assert saga.status("w") == "succeeded"
    saga.expect("as.do").reply(succeeded())
    saga.ends("completed")


def test_a_wait_until_a_time_that_has_passed_is_over_at_once() -> None:
    """And one in the future is a time, with its offset."""
    saga = given(
        definition(wait("w", until="${ input.at }"), action("a")), at="2020-01-01T00:00:00Z"
    )
    saga.expect("as.do").reply(succeeded())
    saga.ends("completed")
    late = given(definition(wait("w", until="${ input.at }")), at="2026-03-01T14:00:00+01:00")
    assert late.step("w").action.due is not None
    late.after(hours=1)
    late.ends("completed")


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (7, "not int"),
        ("soon", "not 'soon'"),
        ("2026-03-01T12:00:00", "needs an offset"),
        ("2999-01-01T00:00:00Z", "is more than 36600 days away"),
    ],
)
def test_a_time_that_is_none_fails_the_wait(at: object, text: str) -> None:
    """A clear end."""
    saga = given(definition(wait("w", until="${ input.at }")), at=at)
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert text in saga.saga.state.failure.detail


def test_a_wait_is_withdrawn_at_once_when_the_saga_turns_back() -> None:
    """Nothing of it is compensated."""
    what = definition(parallel("p", a=[wait("w", **{"for": "P2D"})], b=[action("a")]))
    saga = given(what)
    saga.expect("as.do").reply(failed())
    saga.ends("compensated")
    assert (saga.status("w"), saga.step("w").problem) == ("failed", ProblemType.INTERRUPTED)


def test_a_saga_that_waits_beside_a_step_that_needs_an_operator_is_stuck_now() -> None:
    """Not only when the wait is over."""
    what = definition(
        action("pay", pivot=True),
        parallel(
            "p",
            a=[wait("w", **{"for": "P2D"})],
            b=[each("e", "${ steps.pay.output.no }", action("a", retry={"max_attempts": None}))],
        ),
    )
    saga = given(what)
    saga.expect("pays.do").reply(succeeded())
    saga.is_now("stuck")
    saga.skips("e")
    saga.is_now("running")
    saga.after(days=2)
    saga.ends("completed")


def test_an_operator_ends_a_wait_by_skipping_it() -> None:
    """A retry or a result for it makes no sense, and says what to do."""
    saga = given(definition(wait("w", **{"for": "P2D"}), action("a")))
    for refused in (saga.retries("w"), saga.resolves("w", Outcome.SUCCEEDED)):
        assert isinstance(refused, Refused)
        assert "skip it to go on now" in refused.detail
    saga.skips("w")
    saga.expect("as.do").reply(succeeded())
    saga.ends("completed")


def test_a_wait_that_ends_while_the_saga_is_suspended_passes_when_it_is_resumed() -> None:
    """Nothing is dispatched until then."""
    saga = given(definition(wait("w", **{"for": "PT1M"}), action("a")))
    saga.suspends()
    saga.after(minutes=2)
    assert saga.status("w") == "running"
    saga.resumes()
    saga.expect("as.do").reply(succeeded())
    saga.ends("completed")


def test_a_deadline_ends_a_wait() -> None:
    """It counts for the whole saga."""
    saga = given(definition(action("a"), wait("w", **{"for": "P2D"}), deadline="PT1H"))
    saga.expect("as.do").reply(succeeded())
    saga.after(hours=1)
    saga.expect("as.undo").reply(succeeded())
    saga.ends("compensated")
