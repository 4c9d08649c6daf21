"""Several versions at once: each saga keeps its own, and a retired one takes no new starts."""

from dataclasses import replace

from amends_contracts.codec import encode_reply
from amends_contracts.messages import Json, Outcome, StartAnswer
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.decision import Refused
from engine.harness import TRIP, Engine, action, engine
from engine.scripted import reply, silent, succeeded

SECOND: dict[str, Json] = {
    **TRIP,
    "version": 2,
    "steps": [action("hotel", "hotels.book", input={"city": "${ input.to }"})],
}
RETIRED = Refused(
    type=ProblemType.RETIRED,
    detail="trip@1 is retired: it takes no new starts; start another version",
)


def retire(e: Engine, version: int) -> None:
    """As REST does it in this process."""
    e.store.retired.add(("trip", version))
    e.orchestrator.catalog.forget_newest("trip")


async def test_a_saga_ends_under_the_version_it_began_with() -> None:
    """A newer version and the retirement of its own change nothing for it."""
    async with engine() as e:
        e.participants.on("hotels.book", silent)
        first = await e.start("old")
        await e.until(lambda: "hotels.book action 1" in e.participants.ran())
        waiting = e.participants.seen[-1]
        e.register(SECOND)
        retire(e, 1)
        e.participants.on("hotels.book", succeeded())
        second = await e.start("new")
        assert await e.ends(second) == "completed"
        assert waiting.reply_to is not None
        late = encode_reply(reply(waiting, Outcome.SUCCEEDED, {}), waiting.reply_to, e.topology)
        e.broker.publish(late)
        assert await e.ends(first) == "completed"
        charged = [c.saga_id for c in e.participants.seen if c.type == "payments.charge"]
        assert charged == [first]


async def test_a_retired_version_takes_no_new_starts() -> None:
    """Asked for by number, or where there is no other."""
    async with engine() as e:
        retire(e, 1)
        assert await e.ask("by-number", version=1) == RETIRED
        assert await e.ask("newest") == RETIRED
        e.register(SECOND)
        assert isinstance(await e.ask("newest"), StartAnswer)


async def test_an_older_version_goes_on_where_the_newest_is_retired() -> None:
    """Retiring takes a version back, so to say."""
    async with engine() as e:
        e.register(SECOND)
        retire(e, 2)
        saga = await e.start("k")
        assert e.store.sagas[saga].stored.identity.version == 1


async def test_a_start_that_was_accepted_is_answered_as_ever() -> None:
    """Whoever asks again under the same key hears of the same saga."""
    async with engine() as e:
        answer = await e.ask("k")
        assert isinstance(answer, StartAnswer)
        retire(e, 1)
        assert await e.ask("k") == replace(answer, created=False)


async def test_others_learn_of_it_within_moments() -> None:
    """A second orchestrator asks again when what it knows is old."""
    async with engine(definition_cache_s=0.05) as e, e.another():
        await e.start("before")
        e.store.retired.add(("trip", 1))
        n = 0
        while isinstance(answer := await e.ask(f"after-{n}"), StartAnswer):
            n += 1
        assert answer == RETIRED


async def test_what_a_newer_release_remembers_is_left_to_it() -> None:
    """This one refuses the saga and writes nothing to it; the others go on."""
    async with engine() as e:
        e.participants.on("hotels.book", silent)
        saga = await e.start("newer")
        await e.until(lambda: "hotels.book action 1" in e.participants.ran())
        row = e.store.sagas[saga]
        newer = replace(row.stored, state=row.stored.state | {"dream": 1})
        e.store.sagas[saga] = replace(row, stored=newer)
        [waiting] = [c for c in e.participants.seen if c.type == "hotels.book"]
        assert waiting.reply_to is not None
        answer = encode_reply(reply(waiting, Outcome.SUCCEEDED, {}), waiting.reply_to, e.topology)
        e.broker.publish(answer)
        await e.until(lambda: e.orchestrator.counters.refused[ProblemType.ENGINE_FAULT] == 1)
        e.participants.on("hotels.book", succeeded())
        assert await e.ends(await e.start("other")) == "completed"
        assert e.store.sagas[saga].stored == newer
