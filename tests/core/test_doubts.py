"""Unknown outcomes, in the specification's order: probe, retry, compensate as unknown, ask."""

import pytest

from amends_contracts.messages import Outcome
from amends_contracts.names import Op
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Refused
from core.dsl import action, definition, failed, fenced, found, given, parallel, succeeded, unknown

PROBED = definition(action("flight", probe=True, retry={"max_attempts": 2}), action("card"))


def test_a_timeout_is_probed_and_a_present_effect_settles_the_step() -> None:
    """With the output that the probe found."""
    saga = given(PROBED)
    saga.expect("flights.do")
    saga.after(minutes=1)
    saga.expect("flights.do", op=Op.PROBE, attempt=1).reply(found("present", {"code": "A1"}))
    assert saga.status("flight") == "succeeded"
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")


def test_absent_is_final_for_the_attempts_so_far_and_the_next_is_higher() -> None:
    """With none left it is `failed`, and not compensated."""
    saga = given(PROBED)
    saga.expect("flights.do")
    saga.after(minutes=1)
    saga.expect("flights.do", op=Op.PROBE, attempt=1).reply(found("absent"))
    saga.wakes()
    saga.expect("flights.do", op=Op.ACTION, attempt=2)
    saga.after(minutes=1)
    saga.expect("flights.do", op=Op.PROBE, attempt=2).reply(found("absent"))
    saga.ends("compensated")
    assert saga.status("flight") == "failed"


def test_an_answer_to_an_older_probe_says_nothing_of_the_latest_attempt() -> None:
    """`absent` speaks for the attempts up to its own."""
    saga = given(PROBED)
    saga.expect("flights.do")
    saga.after(minutes=1)
    old = saga.expect("flights.do", op=Op.PROBE)
    old.reply(found("absent"))
    saga.wakes()
    saga.expect("flights.do", op=Op.ACTION)
    saga.after(minutes=1)
    saga.expect("flights.do", op=Op.PROBE, attempt=2)
    assert isinstance(old.reply(found("absent")), Refused)


def test_probes_are_repeated_with_backoff_a_bounded_number_of_times() -> None:
    """They use up no attempts; then the next attempt is made, then the step is unknown."""
    saga = given(PROBED)
    saga.expect("flights.do")
    saga.after(minutes=1)
    for _ in range(2):
        for _ in range(5):
            probe = saga.expect("flights.do", op=Op.PROBE)
            probe.reply(unknown())
            if saga.status("flight") == "unknown" and saga.saga.status == "running":
                saga.wakes()
        if saga.saga.status == "running":
            if saga.status("flight") == "retrying":
                saga.wakes()
            saga.expect("flights.do", op=Op.ACTION, attempt=2).reply(unknown())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_participant_without_probes_is_not_asked_again_in_this_doubt() -> None:
    """`amends:unsupported`: the next in the order."""
    saga = given(PROBED)
    saga.expect("flights.do").reply(unknown())
    saga.expect("flights.do", op=Op.PROBE).reply(failed("amends:unsupported"))
    assert saga.status("flight") == "retrying"
    saga.wakes()
    saga.expect("flights.do", op=Op.ACTION, attempt=2)


def test_without_a_probe_it_is_retried_under_the_same_key_and_then_undone_as_unknown() -> None:
    """Attempts are counted."""
    saga = given(definition(action("flight", retry={"max_attempts": 2})))
    saga.expect("flights.do").reply(unknown())
    assert saga.status("flight") == "retrying"
    saga.wakes()
    saga.expect("flights.do", attempt=2)
    saga.after(minutes=1)
    assert saga.status("flight") == "compensating"
    saga.expect("flights.undo", output=None).reply(succeeded())
    saga.ends("compensated")


def test_a_late_reply_while_retrying_settles_the_step() -> None:
    """`succeeded` of any attempt; no further attempt is made."""
    saga = given(definition(action("flight")))
    first = saga.expect("flights.do")
    saga.after(minutes=1)
    assert saga.status("flight") == "retrying"
    first.reply(succeeded())
    saga.ends("completed")


def test_a_late_failed_excludes_the_doubt() -> None:
    """`failed` of the latest attempt speaks for all attempts so far."""
    saga = given(definition(action("flight", retry={"max_attempts": 2})))
    first = saga.expect("flights.do")
    saga.after(minutes=1)
    first.reply(failed("full", retryable=True))
    assert not saga.step("flight").action.doubt
    saga.wakes()
    second = saga.expect("flights.do", attempt=2)
    assert isinstance(first.reply(failed("full")), Refused)
    second.reply(failed("full"))
    saga.ends("compensated")
    assert saga.status("flight") == "failed"


def test_effect_none_is_never_retried_after_a_timeout() -> None:
    """With an undo it is compensated as unknown."""
    saga = given(definition(action("flight", effect="none")))
    saga.expect("flights.do")
    saga.after(minutes=1)
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_effect_none_without_an_undo_asks_a_person(outcome: Outcome) -> None:
    """Stuck, and nothing new starts until an operator says what happened."""
    what = definition(
        parallel(
            "p",
            a=[action("letter", effect="none", reversal="irreversible")],
            b=[action("hotel"), action("seat")],
        )
    )
    saga = given(what)
    saga.expect("letters.do")
    hotel = saga.expect("hotels.do")
    saga.after(seconds=59)
    saga.expect_nothing()
    saga.after(seconds=1)
    saga.is_now("stuck")
    hotel.reply(succeeded())
    saga.expect_nothing()
    saga.resolves("letter", outcome)
    if outcome is Outcome.SUCCEEDED:
        saga.expect("seats.do").reply(succeeded())
        saga.ends("completed")
    else:
        saga.expect("hotels.undo").reply(succeeded())
        saga.ends("compensated")


def test_an_unknown_read_changed_nothing() -> None:
    """A read-only step that nobody answers is failed, not in doubt."""
    saga = given(definition(action("look", reversal="read_only", retry={"max_attempts": 1})))
    saga.expect("looks.do")
    saga.after(minutes=1)
    saga.ends("compensated")
    assert saga.status("look") == "failed"


def test_an_ignored_unknown_is_undone_when_the_saga_turns_back() -> None:
    """Also under `on_failure: ignore` an unknown outcome is an effect that may be there."""
    what = definition(
        action("flight", on_failure="ignore", retry={"max_attempts": 1}), action("card")
    )
    saga = given(what)
    saga.expect("flights.do").reply(unknown())
    saga.expect("cards.do").reply(failed())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_fenced_before_any_compensation_counts_as_unknown() -> None:
    """Somebody else has undone it: we do not know why."""
    saga = given(definition(action("flight", retry={"max_attempts": 1})))
    saga.expect("flights.do").reply(fenced())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_fenced_after_a_probe_found_nothing_is_failed() -> None:
    """Then it is the end of it: the action never took effect and never will."""
    saga = given(definition(action("flight", probe=True)))
    saga.expect("flights.do").reply(fenced())
    saga.expect("flights.do", op=Op.PROBE).reply(found("absent"))
    saga.wakes()
    saga.expect("flights.do", op=Op.ACTION, attempt=2).reply(fenced())
    saga.ends("compensated")
    assert saga.status("flight") == "failed"


@pytest.mark.parametrize("kind", [ProblemType.KEY_REUSED, ProblemType.FORGOTTEN])
def test_a_participant_that_remembers_something_else_stops_the_saga(kind: ProblemType) -> None:
    """Stuck at once, nothing undone, until an operator decides; a cancel is a decision."""
    saga = given(definition(action("flight"), action("card")))
    saga.expect("flights.do").reply(succeeded())
    saga.expect("cards.do").reply(unknown(kind))
    saga.is_now("stuck")
    saga.expect_nothing()
    saga.after(hours=3)
    saga.expect_nothing()
    saga.cancels()
    saga.expect("cards.undo").reply(succeeded())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_dead_lettered_command_is_in_doubt() -> None:
    """Its participant may have died after the effect."""
    saga = given(definition(action("flight", retry={"max_attempts": 1})))
    saga.expect("flights.do").dead_lettered()
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_problem_that_the_policy_excepts_ends_the_attempts() -> None:
    """`retry.except`."""
    saga = given(definition(action("flight", retry={"except": ["full"]})))
    saga.expect("flights.do").reply(failed("full", retryable=True))
    saga.ends("compensated")
