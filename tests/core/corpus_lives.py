"""Which lives are recorded: random ones, until every kind of fact is there, and a few by hand."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from amends_contracts.definition import Definition
from amends_contracts.names import Op, StepPath
from amends_orchestrator.core.inputs import Asked
from amends_orchestrator.core.state import Asker
from core.corpus import Life, recorded
from core.dsl import (
    IDENTITY,
    Scenario,
    action,
    definition,
    each,
    failed,
    given,
    progress,
    review,
    started_with,
    succeeded,
)
from core.random_plans import random_definition
from core.world import input_by, live

SEEDS = range(400)
STEPS = 25
ROWS_MAX = 60


def random_life(seed: int) -> Life | None:
    """A random life, if it is short."""
    what = random_definition(seed)
    world = live(what, seed, STEPS)
    if len(world.saga.rows) > ROWS_MAX:
        return None
    return recorded(world.saga, what, started_with(input_by(random.Random(seed))))


def lives() -> Iterator[tuple[str, Life]]:
    """By name, those by hand first."""
    for make in BY_HAND:
        yield make.__name__, make()
    for seed in SEEDS:
        life = random_life(seed)
        if life is not None:
            yield f"random_{seed}", life


def slow_participants() -> Life:
    """Action and undo say that they are still at it."""
    what = definition(action("flight"), action("hotel"))
    saga = given(what)
    flight = saga.expect("flights.do")
    saga.now = saga.now.replace(second=10)
    flight.reply(progress())
    flight.reply(succeeded(code="A1"))
    saga.expect("hotels.do").reply(failed())
    undo = saga.expect("flights.undo")
    saga.now = saga.now.replace(second=30)
    undo.reply(progress())
    undo.reply(succeeded())
    return recorded(saga, what, started_with({}))


SALE = definition(
    action("flight"),
    action("card", pivot=True),
    action("mail", reversal="irreversible", retry={"max_attempts": None}),
)


def _sold() -> Scenario:
    saga = given(SALE)
    for command in ("flights.do", "cards.do", "mails.do"):
        saga.expect(command).reply(succeeded(n=1))
    return saga


def taken_back_late() -> Life:
    """A late undo across a pivot, with what stays, asked for by the step of another saga."""
    undo = _sold().undone(across_pivot=True)
    path = StepPath("stay")
    asker = Asker(saga_id=IDENTITY.saga_id, path=path, partition=3, op=Op.COMPENSATION, attempt=1)
    undo.receive(Asked(asker=asker))
    for command in ("cards.undo", "flights.undo"):
        undo.expect(command).reply(succeeded())
    undo.ends("compensated", residue=1)
    return recorded(undo, SALE, None)


def long_loop() -> Life:
    """An each that notes how far it is, and turns back in its middle."""
    what: Definition = definition(each("legs", list(range(40)), action("flight")))
    saga = given(what)
    for n in range(37):
        saga.expect("flights.do").reply(succeeded(n=n))
    saga.expect("flights.do").reply(failed())
    for _ in range(37):
        saga.expect("flights.undo").reply(succeeded())
    saga.ends("compensated")
    return recorded(saga, what, started_with({}))


def reviewed() -> Life:
    """A guard that is edited, whose approval lapses; and a review that nobody decides in time."""
    guard: dict[str, Any] = {
        "form": {},
        "quorum": 2,
        "valid_for": "PT1M",
        "assignees": ["ann", "bea"],
    }
    what = definition(
        review("offer", show="**Sure?**", expires="PT1H", on_expiry="approve"),
        action("refund", input={"usd": "${ input.n }"}, review=guard),
    )
    saga = given(what, n=2)
    saga.after(hours=1)
    saga.suspends()
    saga.decides("refund", "approve", "ann", comment="as shown")
    saga.decides("refund", "edit", "bea", body={"usd": 1})
    saga.decides("refund", "approve", "ann")
    saga.now += timedelta(minutes=2)
    saga.resumes()
    saga.decides("refund", "approve", "ann")
    saga.decides("refund", "approve", "bea")
    saga.expect("refunds.do", usd=1).reply(succeeded())
    saga.ends("completed")
    return recorded(saga, what, started_with({"n": 2}))


def waits_for_others() -> Life:
    """For a permit, and for a participant that does not answer."""
    what = definition(action("flight", limit={"concurrency": 1}), action("hotel"))
    saga = given(what)
    saga.grants("flight")
    saga.sick = {"hotels": timedelta(seconds=30)}
    saga.expect("flights.do").reply(succeeded(n=1))
    saga.sick = {}
    saga.wakes()
    saga.expect("hotels.do").reply(succeeded(n=1))
    saga.ends("completed")
    return recorded(saga, what, started_with({}))


BY_HAND: tuple[Callable[[], Life], ...] = (
    slow_participants,
    taken_back_late,
    long_loop,
    reviewed,
    waits_for_others,
)
