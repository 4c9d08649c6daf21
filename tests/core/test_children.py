"""Child sagas: for the parent an action of service `amends`, for the child somebody who waits."""

from dataclasses import replace
from typing import Any

from amends_contracts.messages import Json, Outcome
from amends_contracts.names import START_SAGA, UNDO_SAGA, Op, SagaId, StepPath
from amends_orchestrator.core import (
    ChildReply,
    Decision,
    Identity,
    Missing,
    Plan,
    Refused,
    compile_plan,
    end_of,
    replies_of,
    reply_of,
    saga_view,
    start,
    start_undone,
)
from amends_orchestrator.core.inputs import Asked, StartRequested
from amends_orchestrator.core.state import Asker
from core.dsl import (
    BEGAN,
    EXPRESSIONS,
    IDENTITY,
    Scenario,
    action,
    child,
    definition,
    failed,
    given,
    succeeded,
)

ORDER = definition(
    action("flight"),
    child("stay", "book-stay", version=2, input={"city": "${ input.to }"}),
    action("mail", input={"room": "${ steps.stay.output.room }"}),
)
STAY = definition(
    action("room"),
    action("key", pivot=True),
    action("note", retry={"max_attempts": None}),
    output={"room": "${ steps.room.output.n }"},
)
CHILD: Identity = replace(IDENTITY, saga_id=SagaId("0195f1c0-0000-7000-8000-00000000000c"))
STARTED = Asker(
    saga_id=IDENTITY.saga_id, path=StepPath("stay"), partition=3, op=Op.ACTION, attempt=1
)
UNDONE = replace(STARTED, op=Op.COMPENSATION)


def request(**more: Any) -> StartRequested:
    """The start of a child."""
    return StartRequested(key="k", input={}, by="saga 1", asked=STARTED, **more)


def running() -> Scenario:
    """A child that has just been started by its parent."""
    plan: Plan = compile_plan(STAY, EXPRESSIONS)
    decision = start(plan, CHILD, request(), BEGAN)
    assert isinstance(decision, Decision)
    saga = Scenario(plan, decision.saga, BEGAN, [], [])
    saga.keep(decision)
    return saga


def told(answer: Decision | Refused) -> list[tuple[Op, Outcome, Json]]:
    """Who is told what by a decision."""
    assert isinstance(answer, Decision), answer
    return [(r.asker.op, r.outcome, r.body) for r in replies_of(answer)]


def test_a_child_is_an_action_of_the_engine_and_its_output_the_steps() -> None:
    """Definition, version and input travel in the body; the reply is an ordinary one."""
    saga = given(ORDER, to="Rome")
    saga.expect("flights.do").reply(succeeded())
    stay = saga.expect(START_SAGA, definition="book-stay", version=2, input={"city": "Rome"})
    step = saga_view(saga.plan, saga.saga, saga.rows).to_json()["steps"][1]
    key = f"{IDENTITY.saga_id}/stay/action"
    assert (step["kind"], step["status"]) == ("saga", "running")
    assert step["child"] == {"definition": "book-stay", "key": key}
    stay.reply(succeeded(room=7))
    saga.expect("mails.do", room=7).reply(failed())
    saga.expect(UNDO_SAGA, output={"room": 7}).reply(succeeded())
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_child_that_failed_turns_its_parent_back() -> None:
    """It was undone as one unit: nothing of it is left to undo."""
    saga = given(ORDER, to="Rome")
    saga.expect("flights.do").reply(succeeded())
    saga.expect(START_SAGA).reply(failed("sold-out"))
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")


def test_a_parent_that_is_cancelled_takes_its_child_back_as_unknown() -> None:
    """After `interrupt_after`, whether the child was started or not."""
    saga = given(ORDER, to="Rome")
    saga.expect("flights.do").reply(succeeded())
    saga.expect(START_SAGA)
    saga.cancels()
    saga.expect_nothing()
    saga.after(seconds=10)
    undo = saga.expect(UNDO_SAGA)
    assert undo.send.action_outcome == "unknown"
    undo.reply(succeeded())
    saga.expect("flights.undo")


def test_the_end_of_a_child_is_told_to_who_asked() -> None:
    """Completed: its output; once, with the end."""
    saga = running()
    saga.expect("rooms.do").reply(succeeded(n=7))
    saga.expect("keys.do").reply(succeeded())
    end = saga.expect("notes.do").reply(succeeded())
    assert told(end) == [(Op.ACTION, Outcome.SUCCEEDED, {"room": 7})]


def test_a_child_that_failed_says_why() -> None:
    """`failed`, for good: whatever it did is undone."""
    saga = running()
    saga.expect("rooms.do").reply(succeeded(n=7))
    saga.expect("keys.do").reply(failed("lost"))
    [(op, outcome, body)] = told(saga.expect("rooms.undo").reply(succeeded()))
    assert (op, outcome, body["type"]) == (Op.ACTION, Outcome.FAILED, "lost")


def test_a_running_child_is_taken_back_and_tells_so() -> None:
    """Its action's reply comes too, and is late."""
    saga = running()
    room = saga.expect("rooms.do")
    saga.receive(Asked(asker=UNDONE))
    saga.is_now("compensating")
    room.reply(succeeded(n=7))
    end = saga.expect("rooms.undo").reply(succeeded())
    assert [(op, outcome) for op, outcome, _ in told(end)] == [
        (Op.ACTION, Outcome.FAILED),
        (Op.COMPENSATION, Outcome.SUCCEEDED),
    ]


def test_a_child_past_its_pivot_goes_to_its_end_first() -> None:
    """Then who takes it back is told to ask again: it is undone late, as one unit."""
    saga = running()
    saga.expect("rooms.do").reply(succeeded(n=7))
    saga.expect("keys.do").reply(succeeded())
    saga.receive(Asked(asker=UNDONE))
    saga.is_now("running")
    decision = saga.expect("notes.do").reply(succeeded())
    assert isinstance(decision, Decision)
    [_, again] = replies_of(decision)
    assert (again.asker.op, again.outcome, again.retryable) == (
        Op.COMPENSATION,
        Outcome.FAILED,
        True,
    )
    assert again.body["type"] == "amends:running"


def test_a_later_attempt_of_the_same_step_takes_the_place_of_the_earlier() -> None:
    """Replies carry the latest attempt; the same again writes nothing."""
    saga = running()
    again = saga.receive(Asked(asker=STARTED))
    assert isinstance(again, Refused)
    assert again.duplicate
    later = replace(STARTED, attempt=2)
    saga.receive(Asked(asker=later))
    assert saga.saga.state.asked == (later,)


def test_a_child_that_is_undone_before_it_was_started_never_runs() -> None:
    """It is there as compensated; a start that comes late finds that."""
    plan = compile_plan(STAY, EXPRESSIONS)
    asked = replace(request(), asked=UNDONE)
    decision = start_undone(plan, CHILD, asked, BEGAN)
    assert (decision.saga.status, decision.sends) == ("compensated", ())
    assert told(decision) == [(Op.COMPENSATION, Outcome.SUCCEEDED, {"saga_id": CHILD.saga_id})]
    late = reply_of(decision.saga, STARTED, None)
    assert (late.outcome, late.body["type"]) == (Outcome.FAILED, "amends:cancelled")


def test_the_late_undo_of_a_child_tells_who_took_it_back() -> None:
    """An undo saga keeps who asked, as every saga does."""
    saga = running()
    for command in ("rooms.do", "keys.do", "notes.do"):
        saga.expect(command).reply(succeeded(n=7))
    undo = saga.undone(across_pivot=True)
    undo.receive(Asked(asker=UNDONE))
    for command in ("notes.undo", "keys.undo"):
        undo.expect(command).reply(succeeded())
    end = undo.expect("rooms.undo").reply(succeeded())
    assert [(op, outcome) for op, outcome, _ in told(end)] == [(Op.COMPENSATION, Outcome.SUCCEEDED)]


def test_who_asks_after_the_end_is_told_it() -> None:
    """With the output of the journal; who takes it back is told to ask again for its undo."""
    saga = running()
    for command in ("rooms.do", "keys.do", "notes.do"):
        saga.expect(command).reply(succeeded(n=7))
    assert end_of(saga.saga, STARTED, {}) == Missing(frozenset({saga.saga.seq}))
    values = {row.seq: row.data for row in saga.rows}
    said = [end_of(saga.saga, asker, values) for asker in (STARTED, UNDONE)]
    assert said == [reply_of(saga.saga, STARTED, {"room": 7}), reply_of(saga.saga, UNDONE, None)]


def test_an_output_that_is_no_object_travels_in_one() -> None:
    """Outputs of steps are objects."""
    saga = running()
    for command in ("rooms.do", "keys.do", "notes.do"):
        saga.expect(command).reply(succeeded(n=7))
    said: list[ChildReply] = [reply_of(saga.saga, STARTED, value) for value in ([1], None)]
    assert [reply.body for reply in said] == [{"output": [1]}, {}]
