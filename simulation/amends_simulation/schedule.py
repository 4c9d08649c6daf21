"""What a run is made of: definitions, sagas, processes and faults, all from one seed.

A fault names the nth time that something happens and what goes wrong then, so that a schedule can
be written down, made smaller, and run again.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final

from amends_contracts.messages import Json
from amends_simulation.definitions import random_documents


class Point(StrEnum):
    """Where something can go wrong."""

    LOAD = "orchestrator loads"
    COMMIT = "orchestrator commits"
    SEND = "orchestrator publishes"
    ENGINE_ACK = "orchestrator acknowledges"
    COMMAND = "command is delivered"
    REPLY = "reply is delivered"
    HANDLER = "action runs"
    UNDO = "compensation runs"
    LOOK = "probe looks"
    SAVE = "participant commits"
    ANSWER = "participant publishes"
    ACK = "participant acknowledges"
    CLIENT = "client acts"
    PERSON = "operator acts"
    LEASE = "lease"


WHAT: Final[Mapping[Point, tuple[str, ...]]] = {
    Point.LOAD: ("away", "slow"),
    Point.COMMIT: ("crash before", "crash after", "lost before", "lost after", "late", "slow"),
    Point.SEND: (
        *("crash before", "crash after", "unknown, lost", "unknown, arrived"),
        *("returned", "arrived, returned later", "twice"),
    ),
    Point.ENGINE_ACK: ("crash before", "lost"),
    Point.COMMAND: ("late", "twice", "very late", "dead"),
    Point.REPLY: ("late", "twice", "very late"),
    Point.HANDLER: (
        *("fails", "fails", "busy", "in doubt, done", "in doubt, not done", "crash before"),
        *("crash after", "bad output", "slow", "very slow"),
    ),
    Point.UNDO: (
        *("fails", "busy", "in doubt, done", "in doubt, not done", "crash before"),
        *("crash after", "slow"),
    ),
    Point.LOOK: ("in doubt",),
    Point.SAVE: ("crash before", "crash after", "lost before", "lost after", "locked"),
    Point.ANSWER: ("crash before", "crash after", "unknown, lost", "unknown, arrived", "twice"),
    Point.ACK: ("crash before", "lost"),
    Point.CLIENT: (
        *("again", "otherwise", "forged reply", "foreign cancel", "unsigned"),
        *("signal again", "signal otherwise", "stray signal"),
    ),
    Point.PERSON: (*("cancel", "cancel", "suspend", "resume", "retry", "skip", "resolve", "undo"),),
    Point.LEASE: ("lost", "paused"),
}
_WEIGHTS: Final[Mapping[Point, float]] = {
    Point.LOAD: 0.5,
    Point.COMMIT: 3,
    Point.SEND: 2,
    Point.ENGINE_ACK: 1,
    Point.COMMAND: 3,
    Point.REPLY: 2,
    Point.HANDLER: 6,
    Point.UNDO: 2,
    Point.LOOK: 0.5,
    Point.SAVE: 2,
    Point.ANSWER: 1,
    Point.ACK: 1,
    Point.CLIENT: 1,
    Point.PERSON: 1.5,
    Point.LEASE: 0.5,
}
_POINTS: Final = tuple(_WEIGHTS)
_ODDS: Final = tuple(_WEIGHTS.values())
TIMED: Final = frozenset({Point.CLIENT, Point.PERSON, Point.LEASE})
"""Points whose faults come at a time, counted in MOMENT_S, and not by count."""
MOMENT_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong the nth time that something happens."""

    point: Point
    nth: int
    what: str

    def __str__(self) -> str:
        if self.point in TIMED:
            return f"after {self.nth * MOMENT_S:.2f} s {self.point}: {self.what}"
        return f"{self.point}, time {self.nth}: {self.what}"


@dataclass(frozen=True, slots=True)
class Beginning:
    """A saga that a client wants."""

    key: str
    n: int
    at: float
    definition: str
    regret: float | None = None
    """So many seconds after its end somebody wants it undone."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that decides a run."""

    seed: int
    documents: tuple[Json, ...]
    sagas: tuple[Beginning, ...]
    faults: tuple[Fault, ...] = ()
    orchestrators: int = 1
    instances: int = 1
    """Processes of each service."""
    partitions: int = 1
    groups: bool = False
    """Whether participants answer several actions in one transaction, and take envelopes."""
    echo: bool = False
    """Whether every message comes once more when all is over."""
    again: bool = False
    """Whether every decision is decided once more."""

    @classmethod
    def of(cls, seed: int) -> "Schedule":
        """The schedule of a seed."""
        chance = random.Random(seed)
        count = chance.choices((1, 2, 3), (12, 2, 1))[0]
        kinds = 1 if count == 1 or chance.random() < 0.7 else 2
        plans = [_documents(n) for n in chance.sample(_shelf(seed), kinds)]
        sagas = tuple(
            Beginning(
                key=f"k{n}",
                n=chance.randrange(3),
                at=chance.random() * 0.2,
                definition=chance.choice(plans)[0]["name"],
                regret=4 * chance.random() if chance.random() < 0.2 else None,
            )
            for n in range(count)
        )
        orchestrators = 2 if chance.random() < 0.3 else 1
        return cls(
            seed=seed,
            documents=tuple(document for plan in plans for document in plan),
            sagas=sagas,
            faults=_faults(chance, orchestrators),
            orchestrators=orchestrators,
            instances=2 if chance.random() < 0.3 else 1,
            partitions=chance.choice((1, 2)),
            groups=chance.random() < 0.15,
            echo=chance.random() < 0.12,
            again=chance.random() < 0.1,
        )


SEEDS_A_SHELF: Final = 64
PLANS_A_SHELF: Final = 16
"""So many neighbouring seeds draw from so many plans: a plan is compiled once for several runs."""


def _shelf(seed: int) -> range:
    first = seed // SEEDS_A_SHELF * PLANS_A_SHELF
    return range(first, first + PLANS_A_SHELF)


@lru_cache(maxsize=4 * PLANS_A_SHELF)
def _documents(number: int) -> tuple[Json, ...]:
    return random_documents(random.Random(f"plan {number}"), f"plan-{number}")


def _faults(chance: random.Random, orchestrators: int) -> tuple[Fault, ...]:
    number = chance.choices(range(9), (2, 4, 5, 4, 3, 2, 1, 1, 1))[0]
    found: dict[tuple[Point, int], Fault] = {}
    points = chance.choices(_POINTS, _ODDS, k=number)
    if orchestrators > 1:  # so that two believe in owning the same
        points += chance.choices((Point.LEASE, Point.LOAD, Point.COMMIT), k=chance.randint(0, 3))
    for point in points:
        reach = 200 if point in TIMED else 6
        nth = 1 + int(reach * chance.random() ** (3 if point in TIMED else 2))
        found[point, nth] = Fault(point, nth, chance.choice(WHAT[point]))
    return tuple(found.values())


@dataclass(slots=True)
class Faults:
    """The faults of a run, as they come up."""

    planned: Mapping[tuple[Point, int], Fault]
    seen: dict[Point, int] = field(default_factory=dict[Point, int])
    happened: list[Fault] = field(default_factory=list[Fault])
    over: bool = False
    """From now on nothing goes wrong any more."""

    def peek(self, point: Point) -> str | None:
        """What `at` would say."""
        fault = self.planned.get((point, self.seen.get(point, 0) + 1))
        return None if fault is None or self.over else fault.what

    def at(self, point: Point) -> str | None:
        """What goes wrong here and now."""
        if self.over:
            return None
        nth = self.seen.get(point, 0) + 1
        self.seen[point] = nth
        fault = self.planned.get((point, nth))
        if fault is None:
            return None
        self.happened.append(fault)
        return fault.what
