"""Commands that come in one message: each has its own answer, whatever becomes of the others."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import encode_command
from amends_contracts.messages import ActionOutcome
from amends_contracts.names import BODY_BYTES_MAX
from amends_participants import Effect, Participant
from amends_participants.barrier import store
from amends_participants.transport import Delivery
from participants.bank import Charge, Receipt, bank
from participants.caller import Caller, Step, charges, told
from participants.running import running, settings_for
from participants.test_crashes import Start, killed, start
from participants.world import World

__all__ = ["start"]


async def told_all(caller: Caller, steps: list[Step]) -> list[tuple[str, object]]:
    """What each action was told, once."""
    replies = await asyncio.gather(*(caller.heard(s.action()) for s in steps))
    return [told(reply) for (reply,) in replies]


async def test_an_envelope_is_one_transaction_and_one_reply(served: Caller, world: World) -> None:
    """Sixty-four actions and their undos: shared, unless the machine is slow beyond measure."""
    steps = charges(64)
    await served.send_together(*(s.action() for s in steps))
    assert await told_all(served, steps) == [("succeeded", {"id": s.key}) for s in steps]
    assert await world.total() == 2000 - 64
    assert await world.scalar("SELECT count(DISTINCT xmin::text) FROM done") in range(1, 64)
    undos = [s.compensation(known=ActionOutcome.SUCCEEDED) for s in steps]
    await served.send_together(*undos, undo=True)
    heard = await asyncio.gather(*(served.heard(undo) for undo in undos))
    assert {told(reply)[0] for (reply,) in heard} == {"succeeded"}
    assert await world.total() == 2000
    assert sum(served.heard_in) == 128
    assert len(served.heard_in) < 128


def bad_members(step: Step, caller: Caller) -> list[AmqpMessage]:
    """What cannot be decoded, is too large, or says nonsense."""
    good = encode_command(step.action(), caller.topology)
    return [
        replace(good, headers={**good.headers, "amends-attempt": "one"}),
        replace(good, body=b'{"fat":"' + b"x" * BODY_BYTES_MAX + b'"}'),
        replace(good, headers={**good.headers, "amends-op": "dance"}),
        replace(good, body=b"[]"),
    ]


async def test_a_bad_member_is_dead_lettered_alone(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """One of sixty-four, wherever it stands; the sixty-three are done and answered."""
    done: list[str] = []
    app, steps, bad = Participant("bank"), list[Step](), list[AmqpMessage]()

    @app.action(Charge)
    async def charge(effect: Effect) -> Receipt:
        done.append(effect.key)
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund() -> None: ...

    async with running(app, settings_for(broker_url, world.url, wire_prefix)):
        for position in (0, 1, 31, 63):
            spoilt = bad_members(Step("bank.charge", {}), caller)[len(bad)]
            good = charges(63)
            members = [s.action() for s in good]
            await caller.send_together(*members[:position], spoilt, *members[position:])
            steps += good
            bad.append(spoilt)
        told_them = await told_all(caller, steps)
        await caller.until(lambda: len(caller.dead) == 4, "four dead letters")
    assert told_them == [("succeeded", {"id": s.key}) for s in steps]
    assert sorted(done) == sorted(s.key for s in steps)
    ids = {m.message_id for m in caller.dead}
    assert ids >= {m.message_id for m in bad if m.headers["amends-op"] == "action"}


async def test_a_member_that_fails_is_answered_alone(served: Caller, world: World) -> None:
    """One cannot be paid, one has no such account, one is of a command that nobody knows."""
    steps = charges(20)
    steps[3].input["how"] = "failed"
    steps[7].input["account"] = 5
    steps[11].type = "bank.dance"
    await served.send_together(*(s.action() for s in steps))
    answers = await told_all(served, steps)
    failed = {3: "no-cover", 7: "amends:invalid-input", 11: "amends:unknown-command"}
    assert answers == [
        ("failed", failed[n]) if n in failed else ("succeeded", {"id": s.key})
        for n, s in enumerate(steps)
    ]
    assert await world.total() == 2000 - 17


async def test_each_kind_of_command_may_be_in_one(served: Caller, world: World) -> None:
    """In the database, outside it, a key that was answered before."""
    known = Step("bank.charge", {"account": "a1", "usd": 1})
    await served.ask(known.action())
    others = [Step(f"bank.{verb}", {"account": "a2", "usd": 1}) for verb in ("wire", "shout")]
    fresh = charges(2)
    await served.send_together(known.action(), *(s.action() for s in [*others, *fresh]))
    assert await served.heard(known.action(), 2)
    assert {told(r)[0] for s in [*others, *fresh] for r in await served.heard(s.action())} == {
        "succeeded"
    }
    assert [await world.done(s.key) for s in [known, *others, *fresh]] == [["acted"]] * 5


async def test_a_member_that_ended_its_process_three_times_is_given_up(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """It alone is dead-lettered; those beside it are answered, and nothing is remembered."""
    steps = charges(5)
    stuck = asyncio.Event()
    app = Participant("bank")

    @app.action(Charge)
    async def charge(effect: Effect) -> Receipt:
        stuck.set()
        await asyncio.Event().wait()
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund() -> None: ...

    settings = settings_for(broker_url, world.url, wire_prefix, drain_s=0)
    async with running(app, settings):
        await caller.send_together(*(s.action() for s in steps))
        await stuck.wait()
    async with world.engine.begin() as conn:
        await conn.execute(
            text("INSERT INTO amends_started VALUES (:key, 'bank', 3)"), {"key": steps[2].key}
        )
    async with running(bank(world), settings):
        good = steps[:2] + steps[3:]
        assert {outcome for outcome, _ in await told_all(caller, good)} == {"succeeded"}
        await caller.until(lambda: caller.dead, "a dead letter")
    (letter,) = caller.dead
    assert letter.message_id == steps[2].action().message_id
    assert "3 times" in str(letter.headers["amends-reason"])
    assert await world.scalar("SELECT count(*) FROM amends_started") == 0
    assert await world.total() == 2000 - 4


async def test_of_all_that_came_again_one_is_marked(
    caller: Caller,
    world: World,
    broker_url: str,
    wire_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two envelopes: whichever command ends the process, no other one is blamed for it."""
    steps = charges(10)
    marked: list[object] = []
    held = asyncio.Queue[Delivery]()
    app = Participant("bank")

    @app.action(Charge)
    async def charge(effect: Effect) -> Receipt:
        marked.append(await world.scalar("SELECT count(*) FROM amends_started"))
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund() -> None: ...

    settings = settings_for(broker_url, world.url, wire_prefix)
    async with running(app, settings) as runtime:
        monkeypatch.setattr(runtime, "take", held.put_nowait)
        await caller.send_together(*(s.action() for s in steps[:5]))
        await caller.send_together(*(s.action() for s in steps[5:]))
        await held.get()
        await held.get()
    async with running(app, settings):
        assert {outcome for outcome, _ in await told_all(caller, steps)} == {"succeeded"}
    assert marked == [1] * 10


async def test_who_stops_in_order_blames_nobody(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """A command that is cut short by a stop, and not by an end of its process, has no mark."""
    steps = charges(3)
    begun = asyncio.Queue[object]()
    app = Participant("bank")

    @app.action(Charge)
    async def charge(effect: Effect) -> Receipt:
        begun.put_nowait(await world.scalar("SELECT count(*) FROM amends_started"))
        await asyncio.Event().wait()
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund() -> None: ...

    settings = settings_for(broker_url, world.url, wire_prefix, drain_s=0)
    async with running(app, settings):
        await caller.send_together(*(s.action() for s in steps))
        assert await begun.get() == 0
    async with running(app, settings):
        assert await begun.get() == 1
    assert await world.scalar("SELECT count(*) FROM amends_started") == 0


async def test_marks_older_than_a_day_go(served: Caller, world: World) -> None:
    """Their commands were answered elsewhere."""
    async with world.engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO amends_started SELECT n::text, 'bank', 1, now() - n * interval '9 h'"
                " FROM generate_series(1, 3) n"
            )
        )
    await served.ask(charges(1)[0].action())
    async with world.engine.begin() as conn:
        await store.purge(conn, "bank", 10)
    assert await world.scalar("SELECT max(key) FROM amends_started") == "2"


@pytest.mark.slow
async def test_killed_with_an_envelope_in_hand(caller: Caller, world: World, start: Start) -> None:
    """Each of its members has its effect once, and is answered."""
    first = await start(BANK_DIES="replying")
    await caller.queue_there("bank", envelopes=True)
    steps = charges(20)
    await caller.send_together(*(s.action() for s in steps))
    await killed(first)
    await start()
    assert await told_all(caller, steps) == [("succeeded", {"id": s.key}) for s in steps]
    assert await world.total() == 2000 - 20


async def test_without_envelopes_nothing_is_shared(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """AMENDS_ENVELOPES=false: single replies, and no queue that would take an envelope."""
    settings = settings_for(broker_url, world.url, wire_prefix, envelopes=False)
    async with running(bank(world), settings) as runtime:
        assert [queue.name for queue in runtime._queues] == [  # pyright: ignore[reportPrivateUsage]
            caller.topology.do_queue("bank"),
            caller.topology.undo_queue("bank"),
        ]
        steps = charges(20)
        await caller.send(*(s.action() for s in steps))
        assert {outcome for outcome, _ in await told_all(caller, steps)} == {"succeeded"}
    assert set(caller.heard_in) == {1}
