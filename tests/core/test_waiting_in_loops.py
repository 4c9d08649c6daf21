"""Awaits and child sagas inside loops and alternatives, and the late undo of such sagas."""

from typing import Any

from amends_contracts.names import START_SAGA, UNDO_SAGA, Op, StepPath, key_of
from amends_orchestrator.core import saga_view, state_to_json, undo_plan, verify
from core.dsl import (
    EXPRESSIONS,
    IDENTITY,
    Scenario,
    action,
    alternatives,
    awaits,
    child,
    definition,
    each,
    failed,
    given,
    repeat,
    succeeded,
    unknown,
)

PARCELS = definition(
    each("parcels", "${ input.parcels }", awaits("packed", "packed"), action("label")),
    action("mail", input={"weights": "${ steps.packed.output }"}),
)
NO_RETRY = {"retry": {"max_attempts": 1}}


def paths(saga: Scenario) -> list[str]:
    """What was sent and not looked at yet: `<op> <path>`."""
    return [f"{send.op} {send.path}" for send in saga.unanswered]


def answer(saga: Scenario, *commands: str) -> None:
    """Each of them was sent, and takes effect."""
    for command in commands:
        saga.expect(command).reply(succeeded())


# --- await ---------------------------------------------------------------------------------------


def test_items_take_signals_in_the_order_in_which_both_came() -> None:
    """Each instance takes one; the outputs are a list, one for each item."""
    saga = given(PARCELS, parcels=["a", "b"])
    for n in (1, 2):
        saga.signals("packed", f"p-{n}", {"kg": n})
    answer(saga, "labels.do", "labels.do")
    saga.expect("mails.do", weights=[{"kg": 1}, {"kg": 2}]).reply(succeeded())
    saga.ends("completed")


def test_items_that_run_at_a_time_wait_at_a_time() -> None:
    """A signal moves one of them, the first; the others go on waiting."""
    body = (awaits("packed", "packed"), action("label"))
    saga = given(definition(each("e", ["a", "b", "c"], *body, concurrency=2)))
    assert [saga.status(f"e[{n}].packed") for n in (0, 1)] == ["running", "running"]
    assert "e[2].packed" not in saga.saga.state.steps
    saga.signals("packed", "p-1")
    assert paths(saga) == ["action e[0].label"]
    assert saga.status("e[1].packed") == "running"


def test_a_repeat_awaits_one_event_after_the_other() -> None:
    """`until` looks at the one that came last."""
    poll = repeat("poll", "${ steps.news.output.last }", awaits("news", "news"))
    saga = given(definition(poll, action("mail", input={"news": "${ steps.news.output }"})))
    saga.signals("news", "n-1", {"last": False})
    assert saga.status("poll#2.news") == "running"
    saga.signals("news", "n-2", {"last": True})
    saga.expect("mails.do", news={"last": True})


def test_a_plan_that_fails_withdraws_its_awaits_and_the_next_may_take_the_event() -> None:
    """Only the failed plan stops to wait; a signal that nobody took stays for the next."""
    parts = {"a": [awaits("paid", "paid")], "b": [action("hold", **NO_RETRY)]}
    card = {"kind": "parallel", "id": "both", "branches": parts}
    saga = given(definition(alternatives("way", card=[card], bank=[awaits("wired", "paid")])))
    saga.expect("holds.do").reply(failed())
    saga.is_now("running")
    assert saga.status("paid") == "skipped"
    assert saga.kinds()[-3:] == ["step.withdrawn paid", "step.entered way", "step.awaiting wired"]
    saga.signals("paid", "p-1")
    saga.ends("completed")


def test_a_signal_that_a_failed_plan_took_is_not_given_back() -> None:
    """Each signal satisfies at most one await, also if its plan is undone afterwards."""
    card = [awaits("paid", "paid"), action("hold")]
    saga = given(definition(alternatives("way", card=card, bank=[awaits("wired", "paid")])))
    saga.signals("paid", "p-1")
    saga.expect("holds.do").reply(failed())
    assert saga.status("wired") == "running"
    saga.signals("paid", "p-2")
    saga.ends("completed")


def test_an_event_that_does_not_come_in_time_fails_its_plan_alone() -> None:
    """A timeout is a failure like any other: the plan is undone, the next is tried."""
    late = [action("hold"), awaits("paid", "paid", timeout="PT1H")]
    saga = given(definition(alternatives("way", card=late, bank=[action("wire")])))
    answer(saga, "holds.do")
    saga.after(hours=1)
    assert paths(saga) == ["compensation hold"]
    answer(saga, "holds.undo", "wires.do")
    saga.ends("completed")


def test_a_saga_that_turns_back_withdraws_the_awaits_of_all_items() -> None:
    """What ran before in each item is undone; nothing waits any more."""
    body = (action("box"), awaits("packed", "packed"))
    saga = given(definition(each("e", ["a", "b"], *body, concurrency=2)))
    for _ in range(2):
        answer(saga, "boxs.do")
    saga.cancels()
    assert [saga.status(f"e[{n}].packed") for n in (0, 1)] == ["skipped", "skipped"]
    for _ in range(2):
        answer(saga, "boxs.undo")
    saga.ends("compensated")


def test_an_await_that_an_operator_has_wait_anew_is_withdrawn_too() -> None:
    """Also while the saga is suspended, before it could begin again."""
    saga = given(definition(awaits("paid", "paid")))
    saga.suspends()
    saga.retries("paid")
    saga.cancels()
    saga.resumes()
    assert saga.status("paid") == "skipped"
    saga.ends("compensated")


# --- child sagas ---------------------------------------------------------------------------------


STAYS = definition(
    each("nights", "${ input.towns }", child("stay", "stay", input={"town": "${ item }"})),
    action("mail", input={"rooms": "${ steps.stay.output }"}),
)


def test_an_each_runs_a_child_for_each_item_and_takes_them_back_latest_first() -> None:
    """Each child has the start key of its own step's instance."""
    saga = given(STAYS, towns=["Rome", "Oslo"])
    saga.expect(START_SAGA, definition="stay", input={"town": "Rome"}).reply(succeeded(room=1))
    saga.expect(START_SAGA, definition="stay", input={"town": "Oslo"}).reply(succeeded(room=2))
    saga.expect("mails.do", rooms=[{"room": 1}, {"room": 2}]).reply(failed())
    assert paths(saga) == ["compensation nights[1].stay"]
    answer(saga, UNDO_SAGA)
    assert paths(saga) == ["compensation nights[0].stay"]
    answer(saga, UNDO_SAGA)
    saga.ends("compensated")


def test_a_child_of_a_plan_that_fails_is_taken_back_before_the_next_plan() -> None:
    """Whether it has ended by then or not: who asks takes it back where it stands."""
    parts = {"a": [child("stay", "stay")], "b": [action("hold", **NO_RETRY)]}
    first = {"kind": "parallel", "id": "both", "branches": parts}
    saga = given(definition(alternatives("way", one=[first], two=[action("bus")])))
    saga.expect(START_SAGA)
    saga.expect("holds.do").reply(failed())
    saga.after(seconds=10)  # the child goes on, and is awaited no longer
    answer(saga, UNDO_SAGA)
    answer(saga, "buss.do")
    saga.ends("completed")
    assert saga.status("stay") == "compensated"


def test_a_child_that_fails_fails_its_plan() -> None:
    """It has undone itself: there is nothing to take back but what ran beside it."""
    saga = given(definition(alternatives("way", one=[child("stay", "stay")], two=[action("bus")])))
    saga.expect(START_SAGA).reply(failed())
    answer(saga, "buss.do")
    saga.ends("completed")


# --- late undo -----------------------------------------------------------------------------------


def undone(saga: Scenario) -> list[str]:
    """The compensations of its late undo, as they are sent one after the other."""
    undo = saga.undone()
    sent: list[str] = []
    while undo.unanswered:
        send = undo.unanswered[0]
        assert send.op is Op.COMPENSATION
        sent.append(send.path)
        undo.expect(send.command).reply(succeeded())
    undo.ends("compensated")
    return sent


def test_the_late_undo_of_loops_takes_all_of_them_back_latest_first() -> None:
    """Items, and iterations, in the reverse of their order."""
    plan = definition(
        each("e", ["x", "y"], action("box"), action("seal")),
        repeat("r", "${ turn == 2 }", action("poll")),
    )
    saga = given(plan)
    answer(saga, *["boxs.do", "seals.do"] * 2, *["polls.do"] * 2)
    saga.ends("completed")
    whole = ["r#2.poll", "r#1.poll", "e[1].seal", "e[1].box", "e[0].seal", "e[0].box"]
    assert [item.path for item in undo_plan(saga.plan, saga.saga)] == whole
    assert undone(saga) == whole


def test_the_late_undo_of_alternatives_takes_back_the_plan_that_held() -> None:
    """What its failed plans did is undone already."""
    way = alternatives("way", air=[action("flight"), action("seat")], rail=[action("train")])
    saga = given(definition(way))
    answer(saga, "flights.do")
    saga.expect("seats.do").reply(failed())
    answer(saga, "flights.undo", "trains.do")
    saga.ends("completed")
    assert undone(saga) == ["train"]


def test_a_late_undo_gives_what_a_loop_and_a_failed_plan_were_about() -> None:
    """An effect in doubt is mapped only now: from the item, and from why the plan before failed."""
    told = {"item": "${ item }", "why": "${ failure.type }", "n": "${ index }"}
    doubted = action(
        "bus",
        effect="none",
        on_failure="ignore",
        compensation={"command": "buss.undo", "input": told},
    )
    way = alternatives("way", one=[action("taxi")], two=[doubted])
    saga = given(definition(each("legs", ["x", "y"], way)))
    for _ in range(2):
        saga.expect("taxis.do").reply(failed("no-taxi"))
        saga.expect("buss.do").reply(unknown())
    saga.ends("completed")
    undo = saga.undone()
    undo.expect("buss.undo", item="y", why="no-taxi", n=1).reply(succeeded())
    undo.expect("buss.undo", item="x", why="no-taxi", n=0).reply(succeeded())
    undo.ends("compensated")


def test_the_data_of_signals_in_a_loop_is_there_for_a_late_undo() -> None:
    """Outputs of awaits are adopted like those of actions."""
    told = {"command": "labels.undo", "input": {"kg": "${ steps.packed.output.kg }"}}
    body = (awaits("packed", "packed"), action("label", compensation=told))
    saga = given(definition(each("e", ["a", "b"], *body)))
    for n in (1, 2):
        saga.signals("packed", f"p-{n}", {"kg": n})
        answer(saga, "labels.do")
    undo = saga.undone()
    undo.expect("labels.undo", kg=2).reply(succeeded())
    undo.expect("labels.undo", kg=1).reply(succeeded())
    undo.ends("compensated")


def test_the_late_undo_of_children_in_a_loop_asks_for_each_of_them() -> None:
    """Also those are taken back latest first."""
    saga = given(STAYS, towns=["Rome", "Oslo"])
    answer(saga, START_SAGA, START_SAGA, "mails.do")
    saga.ends("completed")
    assert undone(saga) == ["mail", "nights[1].stay", "nights[0].stay"]


# --- the verifier --------------------------------------------------------------------------------


def wrong(*steps: Any) -> list[str]:
    """Where a definition is refused."""
    return [error.path for error in verify(definition(*steps), {}, EXPRESSIONS)]


def test_awaits_may_not_outnumber_the_signals_of_a_saga() -> None:
    """Loops multiply; what an expression gives is not known."""
    inner = each("e", ["a", "b"], awaits("w", "paid"))
    assert wrong(repeat("r", "${ true }", inner, turns=250)) == []
    assert wrong(repeat("r", "${ true }", inner, turns=251)) == ["/steps/0/steps/0/steps/0"]


def test_a_child_in_a_loop_has_a_key_of_its_own() -> None:
    """By default it has; a key that is given names the item, the iteration, or a step."""
    for key in ("${ item }", "k-${ index }", "${ steps.a.output.id }", None):
        named = {} if key is None else {"key": key}
        assert wrong(each("e", ["x"], action("a"), child("c", "other", **named))) == []
    same = child("c", "other", key="k-${ saga.id }")
    assert wrong(each("e", ["x"], same)) == ["/steps/0/steps/0/key"]
    assert wrong(repeat("r", "${ true }", same)) == ["/steps/0/steps/0/key"]
    assert wrong(same) == []


def test_a_saga_may_start_its_own_kind_where_items_or_a_failure_decide() -> None:
    """An each may have no items, a second plan may never be tried; a repeat runs at least once."""
    again = child("c", "test")
    assert wrong(each("e", "${ input.children }", again)) == []
    assert wrong(alternatives("o", one=[action("a")], two=[again])) == []
    assert wrong(alternatives("o", one=[again])) == ["/steps/0/plans/0/steps/0/definition"]
    assert wrong(repeat("r", "${ true }", again)) == ["/steps/0/steps/0/definition"]
    assert wrong(repeat("r", "${ true }", again, when="${ input.deep }")) == []


# --- what is stored and shown --------------------------------------------------------------------


def test_an_await_that_is_over_is_packed_in_a_loop() -> None:
    """A few numbers: that it succeeded, no input, and the row of its signal."""
    saga = given(definition(each("e", ["a", "b"], awaits("w", "paid"))))
    saga.signals("paid", "p-1")
    steps = state_to_json(saga.saga.state)["steps"]
    assert steps["e[0].w"] == ["s", 0, 4]
    assert steps["e[1].w"]["action"]["doing"] == "awaiting"


def test_awaits_and_children_are_shown_at_their_items() -> None:
    """With what they wait for, and which saga they run."""
    body = (awaits("w", "paid"), child("c", "other"))
    saga = given(definition(each("e", ["a"], *body)))
    saga.signals("paid", "p-1", {"usd": 7})
    shown = {step["path"]: step for step in saga_view(saga.plan, saga.saga, saga.rows).steps}
    awaited, run = shown["e[0].w"], shown["e[0].c"]
    assert (awaited["kind"], awaited["status"], awaited["output"]) == (
        "await",
        "succeeded",
        {"usd": 7},
    )
    assert (run["kind"], run["status"]) == ("saga", "running")
    key = key_of(IDENTITY.saga_id, StepPath("e[0].c"), Op.ACTION)
    assert run["child"] == {"definition": "other", "key": key}
