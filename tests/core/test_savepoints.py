"""`alternatives`: a plan that fails is undone alone, and the next is tried."""

from amends_contracts.messages import ActionOutcome, Outcome
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import Refused, undo_plan
from core.dsl import (
    Scenario,
    action,
    alternatives,
    bad_output,
    definition,
    each,
    failed,
    given,
    parallel,
    progress,
    succeeded,
    unknown,
    wait,
)

TRIP = definition(
    action("visa"),
    alternatives("way", air=[action("flight"), action("seat")], rail=[action("train")]),
    action("card"),
)
FREE = {"retry": {"max_attempts": 1}}


def paths(saga: Scenario) -> list[str]:
    """What was sent and not looked at yet: `<op> <path>`."""
    return [f"{send.op} {send.path}" for send in saga.unanswered]


def at_the_savepoint() -> Scenario:
    """The first plan has failed at its second step: its first is being undone."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(succeeded(code="A"))
    saga.expect("seats.do").reply(failed("sold-out"))
    return saga


def test_the_first_plan_that_holds_is_all_that_runs() -> None:
    """Nothing of the others begins."""
    saga = given(TRIP)
    for command in ("visas.do", "flights.do", "seats.do", "cards.do"):
        saga.expect(command).reply(succeeded())
    saga.ends("completed")
    assert "train" not in saga.saga.state.steps
    assert saga.status("way") == "succeeded"


def test_a_plan_that_fails_is_undone_alone_before_the_next_is_tried() -> None:
    """Back to the savepoint, not to the beginning: the saga stays on its way forward."""
    saga = at_the_savepoint()
    saga.is_now("running")
    assert saga.status("way") == "compensating"
    assert paths(saga) == ["compensation flight"]
    saga.expect("flights.undo", output={"code": "A"}).reply(succeeded())
    assert paths(saga) == ["action train"]
    assert saga.status("way") == "running"
    saga.expect("trains.do").reply(succeeded())
    saga.expect("cards.do").reply(succeeded())
    saga.ends("completed")
    assert [saga.status(step) for step in ("visa", "flight", "seat", "train")] == [
        "succeeded",
        "compensated",
        "failed",
        "succeeded",
    ]


def test_a_plan_without_effects_is_followed_at_once() -> None:
    """Nothing was to be undone."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(failed("sold-out"))
    assert paths(saga) == ["action train"]


def test_when_the_last_plan_fails_the_saga_turns_back() -> None:
    """For the reason that the last one had."""
    saga = at_the_savepoint()
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("trains.do").reply(failed("strike"))
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert (saga.saga.state.failure.type, saga.saga.state.failure.step) == ("strike", "train")


def test_a_later_failure_undoes_the_plan_that_held() -> None:
    """And nothing of the one that was undone before."""
    saga = at_the_savepoint()
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("trains.do").reply(succeeded())
    saga.expect("cards.do").reply(failed("declined"))
    assert [str(item.path) for item in undo_plan(saga.plan, saga.saga)] == ["train", "visa"]
    saga.expect("trains.undo").reply(succeeded())
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")


def test_the_next_plan_sees_the_failure() -> None:
    """Type, title, detail and step of the problem that ended the plan before it."""
    seen = {"why": "${ failure.type }", "where": "${ failure.step }", "more": "${ failure.detail }"}
    what = definition(
        alternatives("way", air=[action("flight")], rail=[action("train", input=seen)])
    )
    saga = given(what)
    saga.expect("flights.do").reply(failed("sold-out"))
    saga.expect("trains.do", why="sold-out", where="flight", more=None).reply(succeeded())
    saga.ends("completed")


def test_inner_alternatives_see_the_failure_around_them_in_their_first_plan() -> None:
    """And their own in their second."""
    inner = alternatives(
        "inner",
        a=[action("a", input={"f": "${ failure.type }"})],
        b=[action("b", input={"f": "${ failure.type }"})],
    )
    saga = given(definition(alternatives("outer", x=[action("x")], y=[inner])))
    saga.expect("xs.do").reply(failed("first"))
    saga.expect("as.do", f="first").reply(failed("second"))
    saga.expect("bs.do", f="second").reply(failed("third"))
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == "third"


def test_what_a_plan_that_failed_gave_is_null_afterwards() -> None:
    """It was undone; what held has its output."""
    what = definition(
        alternatives("way", air=[action("flight"), action("seat")], rail=[action("train")]),
        output={"flight": "${ steps.flight.output }", "train": "${ steps.train.output }"},
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded(code="A"))
    saga.expect("seats.do").reply(failed())
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("trains.do").reply(succeeded(code="T"))
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": {"flight": None, "train": {"code": "T"}}}


def test_a_step_in_doubt_is_compensated_as_unknown_before_the_next_plan() -> None:
    """As where a saga turns back."""
    what = definition(alternatives("way", air=[action("flight", **FREE)], rail=[action("train")]))
    saga = given(what)
    flight = saga.expect("flights.do")
    flight.reply(unknown())
    undo = saga.expect("flights.undo", output=None)
    assert undo.send.action_outcome is ActionOutcome.UNKNOWN
    saga.expect_nothing()
    undo.reply(succeeded())
    assert paths(saga) == ["action train"]
    assert isinstance(flight.reply(succeeded()), Refused)


def test_an_output_that_violates_its_schema_fails_the_plan_and_is_undone() -> None:
    """It is an effect."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(bad_output())
    saga.expect("flights.undo").reply(succeeded())
    assert paths(saga) == ["action train"]


def test_an_expression_that_fails_in_a_plan_fails_the_plan() -> None:
    """So does an each over what is no list."""
    broken = [action("a"), each("e", "${ steps.a.output.no }", action("b"))]
    saga = given(definition(alternatives("way", one=broken, two=[action("c")])))
    saga.expect("as.do").reply(succeeded())
    saga.expect("as.undo").reply(succeeded())
    saga.expect("cs.do").reply(succeeded())
    saga.ends("completed")


# --- what is in flight when a plan fails ---------------------------------------------------------

BESIDE = definition(
    alternatives(
        "way",
        air=[parallel("p", a=[action("flight")], b=[action("hotel")])],
        rail=[action("train")],
    )
)


def test_what_is_in_flight_in_the_plan_is_awaited_until_interrupt_after() -> None:
    """Then it is undone as unknown; the next plan waits for that."""
    saga = given(BESIDE)
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    saga.expect_nothing()
    assert isinstance(flight.reply(progress()), Refused)
    saga.after(seconds=10)
    assert saga.step("flight").problem == ProblemType.INTERRUPTED
    undo = saga.expect("flights.undo", output=None)
    saga.expect_nothing()
    undo.reply(succeeded())
    assert paths(saga) == ["action train"]


def test_a_success_in_time_is_undone_with_its_output() -> None:
    """A failure in time needs nothing."""
    saga = given(BESIDE)
    flight = saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    flight.reply(succeeded(code="A"))
    saga.expect("flights.undo", output={"code": "A"}).reply(succeeded())
    saga.expect("trains.do").reply(succeeded())
    saga.ends("completed")

    other = given(BESIDE)
    slow = other.expect("flights.do")
    other.expect("hotels.do").reply(failed())
    slow.reply(failed(retryable=True))
    assert paths(other) == ["action train"]


def test_a_step_of_the_plan_that_waits_for_its_next_attempt_is_not_tried_again() -> None:
    """Nothing had changed; nor is a command that came back sent again."""
    saga = given(BESIDE)
    saga.expect("flights.do").reply(failed(retryable=True))
    saga.expect("hotels.do").reply(failed())
    assert saga.status("flight") == "failed"
    assert paths(saga) == ["action train"]

    returned = given(BESIDE)
    flight = returned.expect("flights.do")
    returned.expect("hotels.do").reply(failed())
    flight.returned(never_delivered=True)
    assert paths(returned) == ["action train"]


def test_a_late_success_for_a_plan_that_was_undone_is_an_alarm_or_nothing() -> None:
    """An alarm where the step had been reported as failed; else its undo has dealt with it."""
    saga = given(BESIDE)
    flight = saga.expect("flights.do")
    hotel = saga.expect("hotels.do")
    hotel.reply(failed())
    saga.after(seconds=10)
    saga.expect("flights.undo").reply(succeeded())
    train = saga.expect("trains.do")
    assert isinstance(flight.reply(succeeded()), Refused)
    hotel.reply(succeeded())
    assert saga.kinds()[-1] == "step.alarmed hotel"
    train.reply(succeeded())
    saga.ends("completed")


def test_the_other_branches_of_a_parallel_around_alternatives_go_on() -> None:
    """Only the plan is undone."""
    way = alternatives("way", air=[action("flight"), action("seat")], rail=[action("train")])
    saga = given(definition(parallel("p", a=[way], b=[action("hotel"), action("meal")])))
    saga.expect("flights.do").reply(succeeded())
    hotel = saga.expect("hotels.do")
    saga.expect("seats.do").reply(failed())
    hotel.reply(succeeded())
    assert paths(saga) == ["compensation flight", "action meal"]
    saga.expect("flights.undo").reply(succeeded())
    saga.expect("trains.do").reply(succeeded())
    saga.expect("meals.do").reply(succeeded())
    saga.ends("completed")


def test_a_wait_in_the_plan_is_withdrawn_at_once() -> None:
    """One beside the alternatives is not."""
    way = alternatives(
        "way",
        one=[parallel("p", a=[wait("w", **{"for": "P1D"})], b=[action("a")])],
        two=[action("b")],
    )
    saga = given(definition(parallel("q", a=[way], b=[wait("v", **{"for": "P1D"})])))
    saga.expect("as.do").reply(failed())
    assert (saga.status("w"), saga.status("v")) == ("failed", "running")
    assert paths(saga) == ["action b"]


# --- when the way back of a plan is not smooth ---------------------------------------------------


def test_an_undo_that_fails_for_good_makes_the_saga_stuck_and_no_next_plan_starts() -> None:
    """An operator decides; then the next plan is tried."""
    saga = at_the_savepoint()
    saga.expect("flights.undo").reply(failed("no"))
    saga.is_now("stuck")
    saga.expect_nothing()
    saga.retries("flight")
    saga.is_now("running")
    saga.expect("flights.undo", attempt=2).reply(succeeded())
    assert paths(saga) == ["action train"]

    skipped = at_the_savepoint()
    skipped.expect("flights.undo").reply(failed("no"))
    skipped.skips("flight")
    skipped.expect("trains.do").reply(succeeded())
    skipped.expect("cards.do").reply(succeeded())
    skipped.ends("completed", residue=1)


def test_a_doubt_that_nothing_can_undo_waits_for_a_person_before_the_next_plan() -> None:
    """Whether the effect is there decides what has to happen first."""
    look = action("look", effect="none", reversal="irreversible", **FREE)
    first = [parallel("p", a=[look], b=[action("a")])]
    saga = given(definition(alternatives("way", one=first, two=[action("b")])))
    saga.expect("looks.do")
    saga.expect("as.do").reply(failed())
    saga.after(seconds=10)
    saga.is_now("stuck")
    assert saga.status("look") == "compensation_failed"
    saga.resolves("look", Outcome.SUCCEEDED)
    assert paths(saga) == ["action b"]


def test_an_undo_is_retried_while_the_saga_is_on_its_way_forward() -> None:
    """By its own policy, for ever."""
    saga = at_the_savepoint()
    saga.expect("flights.undo").reply(failed("busy", retryable=True))
    saga.wakes()
    saga.expect("flights.undo", attempt=2).reply(succeeded())
    assert paths(saga) == ["action train"]


def test_forgotten_in_a_plan_stops_the_whole_saga() -> None:
    """As everywhere."""
    saga = at_the_savepoint()
    saga.expect("flights.undo").reply(unknown("amends:forgotten"))
    saga.is_now("stuck")
    saga.resolves("flight", Outcome.SUCCEEDED)
    assert paths(saga) == ["action train"]


def test_a_cancel_while_a_plan_is_undone_goes_on_undoing_and_starts_no_plan() -> None:
    """The whole saga turns back; what was sent stays sent."""
    saga = at_the_savepoint()
    undo = saga.expect("flights.undo")
    saga.cancels()
    saga.is_now("compensating")
    saga.expect_nothing()
    undo.reply(succeeded())
    saga.expect("visas.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.CANCELLED


def test_a_deadline_while_a_plan_is_undone_turns_the_saga_back() -> None:
    """The next plan has no time."""
    what = definition(
        alternatives("way", air=[action("flight"), action("seat")], rail=[action("train")]),
        deadline="PT1H",
    )
    saga = given(what)
    saga.expect("flights.do").reply(succeeded())
    saga.expect("seats.do").reply(failed())
    undo = saga.expect("flights.undo")
    saga.now = saga.now.replace(hour=14)
    undo.reply(succeeded())
    saga.ends("compensated")


def test_a_suspended_saga_undoes_no_plan_until_it_is_resumed() -> None:
    """Nothing is dispatched; the failure is recorded."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(succeeded())
    seat = saga.expect("seats.do")
    saga.suspends()
    seat.reply(failed())
    assert saga.status("way") == "compensating"
    saga.expect_nothing()
    saga.resumes()
    assert paths(saga) == ["compensation flight"]


def test_an_operator_skips_a_failing_step_in_a_plan_and_the_plan_goes_on() -> None:
    """Before it has failed for good."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do").reply(failed(retryable=True))
    saga.skips("flight")
    assert paths(saga) == ["action seat"]


def test_an_operator_who_says_that_a_step_failed_fails_its_plan() -> None:
    """As its participant would have."""
    saga = given(TRIP)
    saga.expect("visas.do").reply(succeeded())
    saga.expect("flights.do")
    saga.resolves("flight", Outcome.FAILED)
    assert paths(saga) == ["action train"]


def test_no_retry_starts_in_a_plan_that_failed() -> None:
    """It is told why."""
    saga = given(BESIDE)
    saga.expect("flights.do")
    saga.expect("hotels.do").reply(failed())
    refused = saga.retries("flight")
    assert isinstance(refused, Refused)
    assert "has turned back" in refused.detail
