"""Actions that arrive together share a transaction, and nobody can tell but by its number."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from amends_participants import Command, Effect, Participant
from participants.bank import bank
from participants.caller import Caller, Step, charges, told
from participants.running import Crowd, running, settings_for
from participants.world import World

SHARED = "SELECT count(*) - count(DISTINCT xmin::text) FROM done"
"""Effects beyond the first of their transaction."""


async def answers(caller: Caller, steps: list[Step]) -> list[tuple[str, object]]:
    """What all are told, asked at the same moment."""
    return [told(r) for r in await asyncio.gather(*(caller.ask(s.action()) for s in steps))]


async def test_a_crowd_shares_transactions(crowd: Crowd, world: World) -> None:
    """Two hundred actions at once: each has its effect once, many in one transaction."""
    steps = charges(200)
    told_all = await crowd(*(step.action() for step in steps))
    assert told_all == [[("succeeded", {"id": step.key})] for step in steps]
    assert await world.total() == 1800
    assert await world.scalar("SELECT count(DISTINCT key) FROM done") == 200
    shared = await world.scalar(SHARED)
    assert isinstance(shared, int)
    assert shared > 20


async def test_a_failure_takes_nobody_along(served: Caller, world: World) -> None:
    """Ten of a hundred cannot be paid: the ninety have their effects, the ten have none."""
    steps = charges(100)
    for step in steps[::10]:
        step.input["usd"] = 1000
    told_all = await answers(served, steps)
    assert [outcome for outcome, _ in told_all] == (["failed"] + ["succeeded"] * 9) * 10
    assert await world.total() == 2000 - 90
    assert {tuple(await world.done(step.key)) for step in steps[::10]} == {()}


async def test_slow_handlers_do_not_wait_for_each_other(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """Handlers of a second are run side by side, in transactions of their own, after a first."""
    settings = settings_for(broker_url, world.url, wire_prefix, concurrency=16)
    async with running(bank(world), settings):
        steps = charges(10, "slow")
        begun = asyncio.get_running_loop().time()
        assert {outcome for outcome, _ in await answers(caller, steps)} == {"succeeded"}
        assert asyncio.get_running_loop().time() - begun < 8


async def test_a_group_of_one_is_no_group(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """AMENDS_GROUP_MAX=1 gives every action a transaction of its own."""
    settings = settings_for(broker_url, world.url, wire_prefix, group_max=1)
    async with running(bank(world), settings):
        assert {outcome for outcome, _ in await answers(caller, charges(60))} == {"succeeded"}
    assert await world.scalar(SHARED) == 0


async def test_what_was_answered_before_is_answered_again(served: Caller, world: World) -> None:
    """Old and new keys in one crowd: the old get their stored answers, nothing is done twice."""
    steps = charges(80)
    first = await answers(served, steps[:40])
    again = [told(r) for r in await asyncio.gather(*(served.ask(s.action(2)) for s in steps))]
    assert again[:40] == first
    assert await world.scalar("SELECT count(*) FROM done") == 80


async def test_what_failed_in_a_crowd_is_stored_and_has_no_effect(
    crowd: Crowd, world: World
) -> None:
    """Two hundred, of which half fail after they have written: none of that stays, ever."""
    steps = charges(200)
    for step in steps[::2]:
        step.input["how"] = "failed"
    first = await crowd(*(step.action() for step in steps))
    assert first[::2] == [[("failed", "no-cover")]] * 100
    assert first[1::2] == [[("succeeded", {"id": step.key})] for step in steps[1::2]]
    again = await crowd(*(step.action(2) for step in steps))
    assert again == first
    assert [await world.done(step.key) for step in steps] == [[], ["acted"]] * 100
    assert await world.total() == 1900


async def test_what_may_be_tried_again_runs_in_a_later_crowd(crowd: Crowd, world: World) -> None:
    """Forty that fail once: the second attempt of each has the effect."""
    steps = charges(40, "failed once")
    assert await crowd(*(step.action() for step in steps)) == [[("failed", "no-cover")]] * 40
    retried = await crowd(*(step.action(2) for step in steps))
    assert retried == [[("succeeded", {"id": step.key})] for step in steps]
    assert [await world.done(step.key) for step in steps] == [["acted"]] * 40


class _Base(DeclarativeBase):
    pass


class Done(_Base):
    """A row of the world's table."""

    __tablename__ = "done"

    n: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    what: Mapped[str]


class Note(Command[None], name="desk.note", effect="transactional", reversal="irreversible"):
    """Writes a line through a session; a line without text is refused by the database."""

    line: str | None = None


async def test_sessions_that_fail_in_a_crowd(crowd: Crowd, world: World) -> None:
    """A flush that fails rolls back by itself: the others are answered all the same, once."""
    app = Participant("desk")

    @app.action(Note)
    async def note(cmd: Note, session: AsyncSession, effect: Effect) -> None:
        session.add(Done(key=effect.key, what=cmd.line))

    steps = [Step("desk.note", {"line": None if n % 5 == 0 else "noted"}) for n in range(40)]
    told_all = await crowd(*(step.action() for step in steps), app=app)
    expected: list[tuple[str, object]] = [("failed", "amends:crashed")]
    expected += [("succeeded", {})] * 4
    assert told_all == [[answer] for answer in expected * 8]
    assert [await world.done(step.key) for step in steps] == ([[]] + [["noted"]] * 4) * 8
