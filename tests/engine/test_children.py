"""Child sagas through the real engine: completed, failed, stuck, cancelled, never started."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import encode_command, encode_reply
from amends_contracts.messages import Command, Json, Outcome, StartAnswer, Undo, to_body
from amends_contracts.names import (
    START_SAGA,
    UNDO_SAGA,
    Op,
    SagaId,
    StepPath,
    key_of,
    message_id_of,
    reply_routing_key,
)
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.inputs import (
    Asked,
    CancelRequested,
    Input,
    ReviewDecision,
    SkipRequested,
)
from amends_orchestrator.engine.children import Children
from amends_orchestrator.engine.ports import StartKey
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.work import ForSaga
from engine.harness import SECRET, Engine, action, engine
from engine.scripted import failed, reply, silent, succeeded

STAY: dict[str, Json] = {
    "name": "stay",
    "version": 1,
    "interrupt_after": "PT0.05S",
    "input": {"type": "object", "required": ["city"]},
    "steps": [action("room", "hotels.book", input={"city": "${ input.city }"})],
    "output": {"room": "${ steps.room.output.n }"},
}
ORDER: dict[str, Json] = {
    "name": "order",
    "version": 1,
    "interrupt_after": "PT0.05S",
    "steps": [
        action("flight", "flights.reserve"),
        {"kind": "saga", "id": "stay", "definition": "stay", "input": {"city": "Rome"}},
        action("card", "payments.charge", input={"room": "${ steps.stay.output.room }"}),
    ],
}
UNDONE = ["hotels.book compensation 1", "flights.reserve compensation 1"]


@pytest.fixture
async def e() -> AsyncGenerator[Engine]:
    """A running engine that knows parent and child."""
    async with engine() as made:
        made.register(STAY)
        made.register(ORDER)
        made.participants.on("hotels.book", succeeded(n=7))
        yield made


async def begin(e: Engine) -> SagaId:
    """Start a parent."""
    return await e.start("o-1", definition="order", value={})


def key_of_child(parent: SagaId, definition: str = "stay") -> StartKey:
    """The start key of its child."""
    return StartKey(tenant="default", definition=definition, key=f"{parent}/stay/action")


async def child_of(e: Engine, parent: SagaId) -> SagaId:
    """Its child, once it is there."""
    await e.until(lambda: key_of_child(parent) in e.store.starts)
    child = e.store.starts[key_of_child(parent)].saga_id
    assert child is not None
    return child


async def submit(e: Engine, saga: SagaId, message: Input) -> None:
    """An operator's request; it must be accepted."""
    answer = await e.orchestrator.submit("default", saga, message)
    assert isinstance(answer, Decision), answer


async def test_a_child_runs_and_its_output_is_the_steps(e: Engine) -> None:
    """Started once under the parent's key; the parent goes on with what it returns."""
    parent = await begin(e)
    assert await e.ends(parent) == "completed"
    assert e.participants.ran() == [
        "flights.reserve action 1",
        "hotels.book action 1",
        "payments.charge action 1",
    ]
    assert e.participants.seen[-1].json() == {"room": 7}
    child = await child_of(e, parent)
    assert e.store.journal[child][0].data["by"] == f"saga {parent}"
    await e.settled()


async def test_a_child_that_fails_turns_its_parent_back(e: Engine) -> None:
    """The child's failure is the parent's."""
    e.participants.on("hotels.book", failed("sold-out"))
    parent = await begin(e)
    assert await e.ends(parent) == "compensated"
    assert await e.ends(await child_of(e, parent)) == "compensated"
    failure = e.store.sagas[parent].stored.state["failure"]
    assert (failure["type"], failure["step"]) == ("sold-out", "stay")
    assert e.participants.ran()[-1] == "flights.reserve compensation 1"


async def test_a_child_that_completed_is_undone_as_one_unit(e: Engine) -> None:
    """By a late undo of its own, before what precedes it in the parent."""
    e.participants.on("payments.charge", failed("declined"))
    parent = await begin(e)
    assert await e.ends(parent) == "compensated"
    assert e.participants.ran()[-2:] == UNDONE
    child = await child_of(e, parent)
    assert e.status(child) == "completed"
    undo = e.participants.seen[-2]
    assert undo.saga_id not in (parent, child)
    assert undo.compensates == f"{child}/room/action"


async def test_a_child_that_ends_while_its_undo_is_asked_for_says_so(
    e: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read while it ran, decided when it had completed: its parent asks again, and it is undone."""
    asked = Children._undo  # pyright: ignore[reportPrivateUsage] - as if read before the end
    stale: list[int] = []

    async def undo(self: Any, order: Any, known: Any) -> Any:
        if stale:
            return await asked(self, order, known)
        stale.append(1)
        return ForSaga(saga_id=known.saga_id, message=Asked(asker=order.asker))

    monkeypatch.setattr(Children, "_undo", undo)
    e.participants.on("payments.charge", failed("declined"))
    parent = await begin(e)
    assert await e.ends(parent) == "compensated"
    assert e.participants.ran()[-2:] == UNDONE
    assert e.status(await child_of(e, parent)) == "completed"


async def test_a_parent_that_is_cancelled_takes_its_running_child_back(e: Engine) -> None:
    """The child turns back at once when it is asked to, and says so at its end."""
    e.participants.on("hotels.book", silent)
    parent = await begin(e)
    child = await child_of(e, parent)
    await e.until(lambda: len(e.participants.seen) == 2)
    await submit(e, parent, CancelRequested(reason="r", by="ann"))
    assert await e.ends(parent) == "compensated"
    assert e.status(child) == "compensated"
    assert e.participants.ran()[-2:] == UNDONE


async def test_a_stuck_child_keeps_its_parent_waiting(e: Engine) -> None:
    """Until an operator has helped the child."""
    e.participants.on("hotels.book", failed("never"), Op.COMPENSATION)
    e.participants.on("payments.charge", failed("declined"))
    e.register(
        {
            **STAY,
            "steps": [*STAY["steps"], action("pay", "payments.charge")],
        }
        | {"version": 2}
    )
    parent = await begin(e)
    child = await child_of(e, parent)
    await e.until(lambda: e.status(child) == "stuck")
    assert e.status(parent) == "running"
    skip = SkipRequested(path=next(iter(_stuck(e, child))), reason="r", by="ann", owner="ann")
    await submit(e, child, skip)
    assert await e.ends(child) == "compensated"
    assert await e.ends(parent) == "compensated"


def _hold(e: Engine, *commands: str) -> list[AmqpMessage]:
    """The broker keeps the first of each of these commands back, to be published by hand."""
    held: list[AmqpMessage] = []
    publish = e.broker.publish

    def instead(message: AmqpMessage) -> PublishResult:
        ours = message.type in commands and message.exchange == e.topology.commands
        if ours and message.type not in {m.type for m in held}:
            held.append(message)
            return PublishResult.CONFIRMED
        return publish(message)

    e.broker.publish = instead
    return held


def _stuck(e: Engine, saga: SagaId) -> list[StepPath]:
    steps = e.store.sagas[saga].stored.state["steps"]
    return [
        StepPath(path) for path, step in steps.items() if step["status"] == "compensation_failed"
    ]


async def test_a_child_that_was_never_started_is_there_as_compensated(e: Engine) -> None:
    """The undo overtakes the start: the tombstone keeps the start from running, however late."""
    e.register({**ORDER, "name": "early", "steps": ORDER["steps"][1:]})
    held = _hold(e, START_SAGA)
    parent = await e.start("o-1", definition="early", value={})
    await e.until(lambda: bool(held))
    await submit(e, parent, CancelRequested(reason="r", by="ann"))
    assert await e.ends(parent) == "compensated"
    child = await child_of(e, parent)
    assert (e.status(child), e.kinds(child)) == (
        "compensated",
        ["saga.started", "saga.compensating", "saga.compensated"],
    )
    for message in held:
        e.broker.publish(message)
    await e.until(lambda: e.orchestrator.counters.refused["duplicate"] > 0)
    assert e.participants.seen == []


async def test_a_child_that_ends_while_it_is_taken_back_is_taken_back_all_the_same(
    e: Engine,
) -> None:
    """It ran when the command was read, and has ended in the batch that the command is in."""
    e.participants.on("hotels.book", silent)
    held = _hold(e, UNDO_SAGA)
    parent = await begin(e)
    child = await child_of(e, parent)
    await e.until(lambda: len(e.participants.seen) == 2)
    await submit(e, parent, CancelRequested(reason="r", by="ann"))
    await e.until(lambda: bool(held))
    booked = succeeded(n=7)(e.participants.seen[-1])
    assert booked is not None
    answer = encode_reply(booked, e.participants.seen[-1].reply_to or "", e.topology)
    for message in (answer, *held):
        e.broker.publish(message)
    assert await e.ends(parent) == "compensated"
    assert e.status(child) == "completed"
    assert e.participants.ran()[-2:] == UNDONE


async def test_a_child_that_is_started_and_taken_back_at_once_is_taken_back(e: Engine) -> None:
    """Both commands were read before there was a child, and are in one batch."""
    e.participants.on("hotels.book", silent)
    held = _hold(e, START_SAGA, UNDO_SAGA)
    parent = await begin(e)
    await e.until(lambda: bool(held))
    await submit(e, parent, CancelRequested(reason="r", by="ann"))
    await e.until(lambda: len(held) == 2)
    for message in held:
        e.broker.publish(message)
    assert await e.ends(parent) == "compensated"
    assert e.status(await child_of(e, parent)) == "compensated"
    assert e.participants.ran()[-1] == "flights.reserve compensation 1"


@pytest.mark.parametrize("declined", [False, True], ids=["completed", "undone"])
async def test_commands_and_replies_that_come_twice_change_nothing(
    e: Engine, *, declined: bool
) -> None:
    """One child, one undo of it, each effect once; also with a second orchestrator at work."""
    publish = e.broker.publish

    def twice(message: AmqpMessage) -> PublishResult:
        if message.type is not None and message.type.startswith("amends."):
            publish(message)
        return publish(message)

    e.broker.publish = twice
    if declined:
        e.participants.on("payments.charge", failed("declined"))
    async with e.another():
        parents = [await e.start(f"o-{n}", definition="order", value={}) for n in range(10)]
        ends = {await e.ends(parent) for parent in parents}
        assert ends == {"compensated" if declined else "completed"}
        await e.settled()
    children = {await child_of(e, parent) for parent in parents}
    assert len(children) == 10
    booked = [c.key for c in e.participants.seen if c.type == "hotels.book"]
    assert len(booked) == len(set(booked)) == (20 if declined else 10)
    undos = [i for i, row in e.store.sagas.items() if row.stored.state.get("undoes") in children]
    assert len(undos) == (10 if declined else 0)


async def test_a_child_that_cannot_be_started_fails_the_step(e: Engine) -> None:
    """No such definition, an input that does not fit: nothing was done, and it says why."""
    for definition, given, kind in (
        ("nobody", {}, ProblemType.NOT_FOUND),
        ("stay", {"town": "Rome"}, ProblemType.BAD_REQUEST),
    ):
        step = {"kind": "saga", "id": "stay", "definition": definition, "input": given}
        e.register({**ORDER, "name": f"of-{definition}", "steps": [step]})
        parent = await e.start("o-1", definition=f"of-{definition}", value={})
        assert await e.ends(parent) == "compensated"
        assert e.store.sagas[parent].stored.state["failure"]["type"] == kind


async def test_a_child_under_a_key_of_the_plan(e: Engine) -> None:
    """The plan may name it; a key with another input is refused."""
    step = {**ORDER["steps"][1], "key": "stay of ${ saga.key }"}
    e.register({**ORDER, "name": "keyed", "steps": [step]})
    parent = await e.start("o-1", definition="keyed", value={})
    assert await e.ends(parent) == "completed"
    assert StartKey(tenant="default", definition="stay", key="stay of o-1") in e.store.starts
    await e.start("stay of o-2", definition="stay", value={"city": "Oslo"})
    other = await e.start("o-2", definition="keyed", value={})
    assert await e.ends(other) == "compensated"
    assert e.store.sagas[other].stored.state["failure"]["type"] == "amends:key-conflict"


async def test_nobody_else_takes_the_key_of_a_child(e: Engine) -> None:
    """A start under a key of that form is refused."""
    parent = await begin(e)
    refused = await e.ask(f"{parent}/stay/action")
    assert isinstance(refused, Refused)
    assert refused.type is ProblemType.BAD_REQUEST


async def test_a_completed_parent_is_undone_with_its_child(e: Engine) -> None:
    """A late undo of the parent takes the child back by a late undo of the child."""
    parent = await begin(e)
    assert await e.ends(parent) == "completed"
    answer = await e.orchestrator.undo("default", "ann", Undo(saga_id=parent, reason="r"))
    assert isinstance(answer, StartAnswer)
    assert await e.ends(answer.saga_id) == "compensated"
    assert e.participants.ran()[3:] == ["payments.charge compensation 1", *UNDONE]
    assert e.status(await child_of(e, parent)) == "completed"


async def test_a_child_of_a_retired_version_is_not_started(e: Engine) -> None:
    """Its parent is told so, and turns back; nothing stands under the child's key."""
    e.store.retired.add(("stay", 1))
    parent = await begin(e)
    assert await e.ends(parent) == "compensated"
    assert key_of_child(parent) not in e.store.starts
    failure = e.store.sagas[parent].stored.state["failure"]
    assert (failure["type"], failure["step"]) == (ProblemType.RETIRED, "stay")
    await e.settled()


async def test_children_of_the_items_of_an_each_are_undone_latest_first(e: Engine) -> None:
    """Each item has a child of its own, also for the late undo of their parent."""
    stay = {"kind": "saga", "id": "stay", "definition": "stay", "input": {"city": "${ item }"}}
    cities: dict[str, Json] = {"kind": "each", "id": "cities", "items": ["Rome", "Oslo"]}
    e.register({"name": "tour", "version": 1, "steps": [cities | {"steps": [stay]}]})
    parent = await e.start("t-1", definition="tour", value={})
    assert await e.ends(parent) == "completed"
    keys = [f"{parent}/cities[{n}].stay/action" for n in (0, 1)]
    starts = [StartKey(tenant="default", definition="stay", key=key) for key in keys]
    children = [e.store.starts[start].saga_id for start in starts]
    answer = await e.orchestrator.undo("default", "ann", Undo(saga_id=parent, reason="rain"))
    assert isinstance(answer, StartAnswer)
    assert await e.ends(answer.saga_id) == "compensated"
    undone = [command.compensates for command in e.participants.seen[-2:]]
    assert undone == [f"{child}/room/action" for child in reversed(children)]
    await e.settled()


async def test_a_running_child_is_not_failed_by_a_newer_version(e: Engine) -> None:
    """Asked for again, it is what it is: what starts today has to fit concerns it no more."""
    e.participants.on("hotels.book", silent)
    parent = await begin(e)
    await e.until(lambda: "hotels.book action 1" in e.participants.ran())
    e.register({**STAY, "version": 2, "input": {"type": "object", "required": ["stars"]}})
    await start_again(e, parent)
    [waiting] = [c for c in e.participants.seen if c.type == "hotels.book"]
    assert waiting.reply_to is not None
    late = encode_reply(reply(waiting, Outcome.SUCCEEDED, {"n": 7}), waiting.reply_to, e.topology)
    e.broker.publish(late)
    assert await e.ends(parent) == "completed"


async def test_an_archived_child_cannot_be_taken_back(e: Engine) -> None:
    """Nobody can tell any more what it came to: its parent is told so, and asks a person."""
    e.participants.on("payments.charge", silent)
    parent = await begin(e)
    await e.until(lambda: "payments.charge action 1" in e.participants.ran())
    del e.store.sagas[await child_of(e, parent)]
    await e.orchestrator.submit("default", parent, CancelRequested(reason="r", by="ann"))
    await e.until(lambda: e.status(parent) == "stuck")
    row = next(r for r in e.store.journal[parent] if r.kind == "saga.stuck")
    assert row.data["problem"]["type"] == ProblemType.FORGOTTEN


async def start_again(e: Engine, parent: SagaId) -> None:
    """The command that starts the child comes once more."""
    before = e.orchestrator.counters.messages + sum(e.orchestrator.counters.refused.values())
    command = Command(
        type=START_SAGA,
        op=Op.ACTION,
        message_id=message_id_of(parent, StepPath("stay"), Op.ACTION, 1),
        body=to_body({"definition": "stay", "input": {"city": "Rome"}}),
        saga_id=parent,
        reply_to=reply_routing_key("amends", e.store.sagas[parent].stored.identity.partition),
        key=key_of(parent, StepPath("stay"), Op.ACTION),
        digest="d",
        token=Tokens([SECRET]).sign(key_of(parent, StepPath("stay"), Op.ACTION)),
    )
    e.broker.publish(encode_command(command, e.topology))
    counters = e.orchestrator.counters
    await e.until(lambda: counters.messages + sum(counters.refused.values()) > before)


async def test_four_eyes_see_who_started_the_parent(e: Engine) -> None:
    """A saga cannot be made to approve itself by starting it through another."""
    step = action("room", "hotels.book", review={"title": "Book?", "not_requester": True})
    e.register({**STAY, "version": 2, "steps": [step], "output": {}})
    child = await child_of(e, await begin(e))
    await e.until(lambda: "review.requested" in e.kinds(child))
    row = next(r for r in e.store.journal[child] if r.kind == "review.requested")
    for by, outcome in (("tester", Refused), ("bea", Decision)):
        decision = ReviewDecision(
            review=row.seq,
            decision="approve",
            by=by,
            shown_digest=row.data["digest"],
        )
        answer = await e.orchestrator.submit("default", child, decision)
        assert isinstance(answer, outcome), answer
