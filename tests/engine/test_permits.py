"""Limits through the real engine: never more at work than may be, whoever comes first."""

import asyncio
from collections import Counter

from amends_contracts.codec import encode_reply
from amends_contracts.messages import Command, Json, Outcome, Reply
from amends_contracts.names import Op
from amends_orchestrator.core.decision import Decision
from amends_orchestrator.core.inputs import CancelRequested
from amends_orchestrator.engine.ports import Grants, Lane
from amends_orchestrator.store.memory import MemoryStore
from engine.harness import Engine, action, engine
from engine.scripted import failed, reply, silent, succeeded


def limited(**limit: Json) -> dict[str, Json]:
    """A definition whose only step books a room, with this limit."""
    room = action("hotel", "hotels.book", input={"to": "${ input.to }"}, limit=limit)
    return {"name": "stay", "version": 1, "steps": [room]}


class SlowHotel:
    """Answers one command at a time, and counts those that wait for an answer."""

    def __init__(self, e: Engine) -> None:
        self.e = e
        self.at_work: list[Command] = []
        self.most: Counter[str] = Counter()
        self.order: list[str] = []
        e.participants.on("hotels.book", self.receive)

    def receive(self, command: Command) -> Reply | None:
        """Keep it waiting."""
        self.at_work.append(command)
        place = command.json()["to"]
        self.order.append(place)
        here = sum(c.json()["to"] == place for c in self.at_work)
        self.most[place] = max(self.most[place], here)
        self.most["all"] = max(self.most["all"], len(self.at_work))
        return None

    async def answer_all(self, count: int) -> None:
        """Answer whatever comes, oldest first, until so many have been answered."""
        for _ in range(count):
            await self.e.until(lambda: bool(self.at_work))
            await asyncio.sleep(0.005)
            self.answer()

    def answer(self) -> None:
        """Answer the oldest."""
        command = self.at_work.pop(0)
        publish(self.e, command, succeeded()(command))


def publish(e: Engine, command: Command, answer: Reply | None) -> None:
    """A service's reply."""
    assert answer is not None
    assert command.reply_to is not None
    e.broker.publish(encode_reply(answer, command.reply_to, e.topology))


async def test_never_more_are_at_work_than_may_be() -> None:
    """Two at a time for each town, five in all."""
    async with engine() as e:
        hotel = SlowHotel(e)
        e.register(limited(key="${ input.to }", concurrency=2, total=3))
        sagas = [
            await e.start(f"{to}{n}", definition="stay", value={"to": to})
            for to in ("Rome", "Oslo", "Bern")
            for n in range(4)
        ]
        await hotel.answer_all(12)
        assert [await e.ends(saga) for saga in sagas] == ["completed"] * 12
        assert hotel.most.pop("all") == 3
        assert max(hotel.most.values()) == 2  # whether each town had two at once is chance
        assert not any(row.waits or row.held for row in e.store.permits.rows.values())


async def test_a_flood_of_one_key_does_not_hold_up_others() -> None:
    """With two places in all, who comes late with another key is served at once."""
    async with engine() as e:
        hotel = SlowHotel(e)
        e.register(limited(key="${ input.to }", total=2))
        for n in range(20):
            await e.start(f"f{n}", definition="stay", value={"to": "Rome"})
        await e.until(lambda: len(hotel.at_work) == 2)
        for n in range(3):
            await e.start(f"o{n}", definition="stay", value={"to": "Oslo"})
        await hotel.answer_all(23)
        assert max(n for n, to in enumerate(hotel.order) if to == "Oslo") < 8


async def test_a_second_orchestrator_grants_too_and_gives_no_place_twice() -> None:
    """Both look at the same queues."""
    async with engine() as e, e.another():
        hotel = SlowHotel(e)
        e.register(limited(concurrency=3))
        sagas = [await e.start(f"k{n}", definition="stay", value={"to": "Rome"}) for n in range(20)]
        await hotel.answer_all(20)
        assert [await e.ends(saga) for saga in sagas] == ["completed"] * 20
        assert hotel.most["all"] == 3


async def test_a_failure_gives_its_place_to_the_next() -> None:
    """Whatever becomes of the action."""
    async with engine() as e:
        e.participants.on("hotels.book", failed("sold-out"))
        e.register(limited(concurrency=1))
        sagas = [await e.start(f"k{n}", definition="stay", value={"to": "Rome"}) for n in range(5)]
        assert [await e.ends(saga) for saga in sagas] == ["compensated"] * 5


async def test_a_cancelled_saga_leaves_the_queue_at_once() -> None:
    """It turns back without having been sent; the one at work is not disturbed."""
    async with engine() as e:
        e.participants.on("hotels.book", silent)
        e.register(limited(concurrency=1))
        first = await e.start("first", definition="stay", value={"to": "Rome"})
        second = await e.start("second", definition="stay", value={"to": "Rome"})
        await e.until(lambda: len(e.participants.seen) == 1)
        answer = await e.orchestrator.submit(
            "default", second, CancelRequested(reason="no", by="ann")
        )
        assert isinstance(answer, Decision)
        assert await e.ends(second) == "compensated"
        assert e.status(first) == "running"
        assert [row.id[0] for row in e.store.permits.rows.values() if row.held] == [first]


async def test_an_undo_is_sent_while_the_limit_is_reached() -> None:
    """Compensations need no permit."""
    async with engine() as e:
        calls: list[Command] = []

        def first_succeeds(command: Command) -> Reply | None:
            calls.append(command)
            return succeeded()(command) if len(calls) == 1 else None

        e.participants.on("hotels.book", first_succeeds)
        e.participants.on("payments.charge", silent)
        stay = limited(concurrency=1)
        stay["steps"].append(action("card", "payments.charge"))
        e.register(stay)
        paying = await e.start("paying", definition="stay", value={"to": "Rome"})
        await e.until(lambda: "payments.charge action 1" in e.participants.ran())
        await e.start("staying", definition="stay", value={"to": "Rome"})
        await e.until(lambda: len(calls) == 2)
        e.participants.on("payments.charge", succeeded(), Op.COMPENSATION)
        card = next(c for c in e.participants.seen if c.type == "payments.charge")
        publish(e, card, reply(card, Outcome.FAILED, {"type": "declined"}))
        assert await e.ends(paying) == "compensated"


class ForgetfulStore(MemoryStore):
    """Loses the first news of every grant, as an orchestrator that dies between the two does."""

    async def grant(
        self, after: Lane | None, *, lanes: int, limit: int, unheard_s: float
    ) -> Grants:
        """The grants stand in the table; who granted them says nothing."""
        held = {row.id for row in self.permits.rows.values() if row.held}
        found = await super().grant(after, lanes=lanes, limit=limit, unheard_s=0.0)
        told = tuple(g for g in found.granted if (g.saga_id, g.step, g.ask) in held)
        return Grants(now=found.now, granted=told, next_at=found.next_at, last=found.last)


async def test_a_grant_whose_news_was_lost_is_told_again() -> None:
    """The table is the truth: the next look finds it."""
    async with engine(store=ForgetfulStore) as e:
        e.register(limited(concurrency=1))
        saga = await e.start("k", definition="stay", value={"to": "Rome"})
        assert await e.ends(saga) == "completed"


async def test_sagas_without_limits_never_look_at_queues() -> None:
    """What nobody uses costs nothing."""
    looks: list[object] = []

    class WatchedStore(MemoryStore):
        async def grant(
            self, after: Lane | None, *, lanes: int, limit: int, unheard_s: float
        ) -> Grants:
            looks.append(after)
            return await super().grant(after, lanes=lanes, limit=limit, unheard_s=unheard_s)

    async with engine(store=WatchedStore) as e:
        await e.ends(await e.start("k"))
        await asyncio.sleep(1.1)  # a tick
        assert looks == []
