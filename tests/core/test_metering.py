"""Model calls: dispatched with one body, metered by their replies, stopped by a budget."""

import random
from typing import Any

import pytest

from amends_contracts.messages import Json, Outcome
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import TERMINAL, Refused, saga_view
from amends_orchestrator.core.checker import History, SagaPast, check
from amends_orchestrator.core.metering import Amount
from core.dsl import (
    IDENTITY,
    Said,
    Scenario,
    action,
    definition,
    each,
    failed,
    given,
    parallel,
    succeeded,
    unknown,
)
from core.metered import CALL, answered, llm, within


def usage(saga: Scenario) -> Json:
    """What the saga's view says it used."""
    return saga_view(saga.plan, saga.saga, saga.rows).to_json().get("usage")


def test_a_model_call_is_a_command_whose_body_is_rendered_once() -> None:
    """Prompt and system are templates; a schema that holds `${` is not."""
    odd = {"type": "object", "properties": {"x": {"pattern": "^${ x }$"}}}
    step = llm("ask", system="You are ${ saga.key }", output=odd, settings={"seed": 1})
    saga = given(definition(step, output="${ steps.ask.output.x }"), word="hello")
    sent = saga.expect(
        CALL,
        prompt="Say hello",
        system="You are order-1",
        output=odd,
        models=["a:one"],
        settings={"seed": 1},
        max_reasks=0,
    )
    sent.reply(unknown())
    saga.after(minutes=1)
    again = saga.expect(CALL, attempt=2)
    assert again.send.body == sent.send.body
    again.reply(succeeded(x="yes"))
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": "yes"}


def test_a_model_call_is_never_compensated_and_its_failure_compensates() -> None:
    """It changed nothing in the world; what was done before is undone."""
    saga = given(definition(action("flight"), llm("ask"), llm("more")), word="hi")
    saga.expect("flights.do").reply(succeeded())
    saga.expect(CALL).reply(succeeded(text="hello"))
    saga.expect(CALL).reply(failed(ProblemType.REFUSAL))
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.status("ask") == "nothing_to_compensate"


def test_usage_adds_up_by_step_saga_and_model() -> None:
    """Also of an attempt that failed; money that is not known is counted, and is not 0."""
    saga = given(definition(llm("ask"), llm("more")), word="hi")
    first = answered(failed("busy", retryable=True), input_tokens=5, usd=0.001)
    saga.expect(CALL).reply(first)
    saga.after(minutes=1)
    again = answered(succeeded(text="x"), input_tokens=5, output_tokens=2, usd=0.002)
    saga.expect(CALL).reply(again)
    other = answered(succeeded(text="y"), input_tokens=7, model="b:two", calls=3, lost=1)
    saga.expect(CALL).reply(other)
    saga.ends("completed")
    shown = saga_view(saga.plan, saga.saga, saga.rows).to_json()
    step = {"lost": 0, "unpriced": 0, "input_tokens": 10, "output_tokens": 2, "usd": 0.003}
    assert shown["steps"][0]["usage"] == {"calls": 2, **step}
    assert shown["steps"][0]["kind"] == "llm"
    whole = {"calls": 5, "lost": 1, "unpriced": 2, "input_tokens": 17, "output_tokens": 2}
    rest = {"calls": 3, "lost": 1, "unpriced": 2, "input_tokens": 7, "output_tokens": 0}
    assert shown["usage"] == whole | {
        "usd": 0.003,
        "models": [
            {"model": "a:one", "calls": 2, **step},
            {"model": "b:two", **rest, "usd": None},
        ],
    }


def test_an_attempt_that_nobody_answered_is_journalled_as_unknown_usage() -> None:
    """It may have been paid for."""
    saga = given(definition(llm("ask", timeout="PT10S")), word="hi")
    saga.expect(CALL)
    saga.after(seconds=11)
    saga.wakes()
    saga.expect(CALL, attempt=2).reply(answered(succeeded(text="x"), usd=0.5))
    saga.ends("completed")
    assert usage(saga)["lost"] == 1
    assert usage(saga)["calls"] == 2
    assert usage(saga)["usd"] == 0.5


# --- budgets -------------------------------------------------------------------------------------


def test_what_a_call_may_use_is_reserved_and_what_it_used_is_spent() -> None:
    """Of two calls of at most 60 tokens, the second fits as the first used less."""
    ask = {"limits": {"tokens": 60}}
    saga = given(definition(llm("ask", **ask), llm("more", **ask), **within(tokens=100)), word="hi")
    assert saga.saga.state.meter.committed == Amount(1, 60)
    saga.expect(CALL).reply(answered(succeeded(text="x"), input_tokens=30, output_tokens=10))
    assert saga.saga.state.meter.spent == Amount(1, 40)
    assert saga.saga.state.meter.committed == Amount(2, 100)
    saga.expect(CALL).reply(answered(succeeded(text="y"), input_tokens=1))
    saga.ends("completed")


def test_an_exhausted_budget_is_a_failure_that_compensates() -> None:
    """The call is not made."""
    ask = {"limits": {"usd": 0.06}}
    plan = definition(action("flight"), llm("ask", **ask), llm("more", **ask), **within(usd=0.1))
    saga = given(plan, word="hi")
    saga.expect("flights.do").reply(succeeded())
    saga.expect(CALL).reply(answered(succeeded(text="x"), usd=0.05))
    saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    assert saga.saga.state.failure is not None
    assert saga.saga.state.failure.type == ProblemType.OVER_BUDGET
    assert "0.110000 USD, and 0.1 are allowed" in saga.saga.state.failure.detail


def test_parallel_branches_share_a_budget() -> None:
    """The sum of what is spent and reserved never passes it, whoever comes first."""
    ask = {"limits": {"tokens": 40}}
    branches: dict[str, Any] = {name: [llm(name, **ask)] for name in ("b0", "b1", "b2")}
    saga = given(definition(parallel("all", **branches), **within(tokens=100)), word="hi")
    assert saga.saga.state.meter.committed == Amount(2, 80)
    assert saga.status("b2") == "failed"
    saga.expect(CALL).reply(answered(succeeded(text="x"), input_tokens=40))
    saga.expect(CALL).reply(answered(succeeded(text="x"), input_tokens=40))
    saga.ends("compensated")


def test_a_lost_call_keeps_its_reservation_spent() -> None:
    """So that the next attempt may not fit any more."""
    plan = definition(llm("ask", limits={"tokens": 60}), **within(tokens=100))
    saga = given(plan, word="hi")
    saga.expect(CALL).reply(unknown())
    assert saga.saga.state.meter.spent == Amount(1, 60)
    saga.after(minutes=1)
    saga.ends("compensated")


def test_an_answer_that_does_not_say_what_it_used_keeps_its_reservation_spent() -> None:
    """A participant that leaves the header out does not get its calls for nothing."""
    plan = definition(llm("ask", limits={"tokens": 60}), **within(tokens=100))
    saga = given(plan, word="hi")
    saga.expect(CALL).reply(succeeded(text="x"))
    saga.ends("completed")
    assert saga.saga.state.meter.spent == Amount(1, 60)


def test_a_provider_that_was_busy_has_used_nothing() -> None:
    """`failed` without usage: the participant knows that nothing was used."""
    plan = definition(llm("ask", limits={"tokens": 60}), **within(tokens=100))
    saga = given(plan, word="hi")
    saga.expect(CALL).reply(failed("busy", retryable=True))
    assert saga.saga.state.meter.committed == Amount()
    saga.after(minutes=1)
    saga.expect(CALL).reply(succeeded(text="x"))
    saga.ends("completed")


def test_a_returned_command_keeps_one_reservation() -> None:
    """It is the same attempt that is sent again."""
    plan = definition(llm("ask", limits={"tokens": 60}), **within(tokens=100))
    saga = given(plan, word="hi")
    saga.expect(CALL).returned(never_delivered=True)
    saga.wakes()
    assert saga.saga.state.meter.committed == Amount(1, 60)
    saga.expect(CALL, attempt=1).reply(succeeded(text="x"))
    saga.ends("completed")


def test_an_unknown_price_counts_as_what_was_reserved() -> None:
    """Never as nothing."""
    plan = definition(llm("ask", limits={"usd": 0.06}), **within(usd=0.1))
    saga = given(plan, word="hi")
    saga.expect(CALL).reply(answered(succeeded(text="x"), input_tokens=3))
    assert saga.saga.state.meter.spent == Amount(1, 3, 60_000_000)


def test_calls_are_reserved_with_all_models_and_reasks() -> None:
    """Each model but the last may fail to answer before the last is asked again."""
    step = llm("ask", models=["a:one", "b:two"], max_reasks=2)
    saga = given(definition(step, **within(calls=5)), word="hi")
    assert saga.saga.state.meter.committed == Amount(4)
    saga.expect(CALL).reply(answered(succeeded(text="x"), calls=2))
    assert saga.saga.state.meter.spent == Amount(2)


def test_the_time_of_a_budget_is_a_deadline() -> None:
    """The earlier of the two."""
    saga = given(definition(llm("ask"), deadline="PT2H", **within(wall="PT30S")), word="hi")
    saga.after(seconds=30)
    saga.is_now("compensating")


def test_a_late_answer_of_a_failed_call_is_an_alarm_that_is_paid_for_once() -> None:
    """Its reservation had been spent already."""
    plan = definition(llm("ask", retry={"max_attempts": 1}, limits={"tokens": 60}))
    saga = given(action_before(plan), word="hi")
    saga.expect("flights.do").reply(succeeded())
    call = saga.expect(CALL)
    call.reply(unknown())
    refused = call.reply(answered(succeeded(text="late"), input_tokens=60))
    assert not isinstance(refused, Refused)
    assert saga.saga.state.meter.spent == Amount(1, 60)


def action_before(plan: Any) -> Any:
    """The same plan with something to undo, so that it is still there when the answer comes."""
    return plan.model_copy(update={"steps": (*definition(action("flight")).steps, *plan.steps)})


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_a_call_that_a_person_settles_counts_as_it_was_reserved(outcome: Outcome) -> None:
    """Nobody knows what it used."""
    plan = definition(llm("ask", limits={"tokens": 60}), action("flight"), **within(tokens=100))
    saga = given(plan, word="hi")
    saga.expect(CALL)
    output = {"text": "x"} if outcome is Outcome.SUCCEEDED else None
    saga.resolves("ask", outcome, output)
    assert saga.saga.state.meter.committed == Amount(1, 60)


def test_items_of_a_loop_share_the_budget() -> None:
    """The third of three calls does not fit."""
    body = llm("ask", prompt="${ item }", limits={"tokens": 40})
    plan = definition(each("all", "${ input.words }", body), **within(tokens=100))
    saga = given(plan, words=["a", "b", "c"])
    for _ in range(2):
        saga.expect(CALL).reply(answered(succeeded(text="x"), input_tokens=40))
    saga.ends("compensated")
    assert saga.saga.state.meter.committed == Amount(2, 80)


# --- any weather ---------------------------------------------------------------------------------


def weather(chance: random.Random) -> Said:
    """What a participant that keeps its limits may say of a call of at most 40 tokens."""
    used = {"input_tokens": chance.randint(0, 30), "output_tokens": chance.randint(0, 10)}
    said = chance.choice([succeeded(text="x"), failed("busy", retryable=True), unknown(), failed()])
    if chance.random() < 0.3:
        return said
    lost = int(said.outcome is Outcome.UNKNOWN)
    return answered(said, **used, calls=chance.randint(1, 2), lost=lost)


@pytest.mark.parametrize("seed", range(60))
def test_a_budget_holds_at_every_prefix_in_any_weather(seed: int) -> None:
    """Replies late, lost, returned, of any outcome and order, over branches and items."""
    chance = random.Random(seed)
    ask = {"models": ["a:one"], "max_reasks": 1, "limits": {"tokens": 40}}
    body = llm("item", prompt="${ item }", **ask)
    branches: dict[str, Any] = {name: [llm(name, **ask)] for name in ("b0", "b1")}
    branches["b2"] = [each("all", ["x", "y", "z"], body, concurrency=2)]
    plan = definition(action("flight"), parallel("p", **branches), **within(tokens=150, calls=9))
    saga = given(plan, word="hi")
    for _ in range(200):
        if saga.saga.status in TERMINAL:
            break
        if not saga.unanswered or chance.random() < 0.2:
            saga.wakes()
            continue
        send = saga.unanswered[chance.randrange(len(saga.unanswered))]
        command = saga.expect(send.command, op=send.op)
        if send.command != CALL:
            command.reply(succeeded())
        elif chance.random() < 0.1:
            command.returned(never_delivered=chance.random() < 0.5)
        elif chance.random() < 0.9:
            command.reply(weather(chance))
    assert saga.saga.status in TERMINAL
    past = SagaPast(identity=IDENTITY, plan=saga.plan, rows=tuple(saga.rows))
    report = check(History(sagas=(past,)), {14})
    assert "14 budgets hold" in report.checked
    assert report.violations == ()
