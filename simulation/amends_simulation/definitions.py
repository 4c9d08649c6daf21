"""Random definitions: one function for each kind of step, of which a table says how often.

Each effect class has a service of its own, so that what a step asks for is what its participant
does; `plains` is a participant that follows the wire contract without the SDK.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from amends_contracts.messages import CommandInfo, Effect, Json, Reversal
from amends_orchestrator.core.undo_debt import steps_in

SERVICES: Final[Mapping[str, str]] = {
    "books": "transactional",
    "cards": "keyed",
    "cars": "queryable",
    "mails": "none",
    "plains": "keyed",
}
"""Services and the effect class of their command `<service>.do`."""
PROMISED: Final = CommandInfo(
    effect=Effect.KEYED,
    reversal=Reversal.COMPENSATABLE,
    output={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
)
"""What every participant promises of its output, and does not always keep."""
_OFTEN: Final = (4, 3, 2, 1, 1)
_FOREVER: Final = {"max_attempts": None, "initial": "PT0.2S", "max": "PT2S"}

Steps: TypeAlias = list[Json]


class Maker:
    """Makes steps; knows what may be referred to and how many steps are left."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.left = chance.choices((1, 2, 3, 4, 5, 6), (5, 6, 4, 2, 1, 1))[0]
        self.count = 0
        self.after = False
        """Whether the pivot stands before."""
        self.known: list[str] = []
        """Steps whose output is surely there."""
        self.lists: list[str] = []
        """Steps in an `each` that is over: outside, their outputs are a list."""
        self.item = False
        """Whether an `each` is around."""
        self.failure = False
        """Whether a plan is around that comes after one that failed."""

    def name(self, prefix: str) -> str:
        """A new step id."""
        self.count += 1
        return f"{prefix}{self.count}"

    def flip(self, p: float) -> bool:
        """True with this probability."""
        return self.chance.random() < p

    def sequence(self, depth: int, most: int = 3) -> Steps:
        """Steps one after another; inside, only what stands before can be referred to."""
        known, lists = list(self.known), list(self.lists)
        steps: Steps = []
        for _ in range(self.chance.randint(1, most)):
            if self.left > 0 or not steps:
                steps.append(self.step(depth))
        self.known, self.lists = known, lists
        return steps

    def step(self, depth: int) -> Json:
        """One step of a random kind."""
        kinds = [
            kind
            for kind in KINDS
            if (depth > 0 or kind is action) and not (self.after and kind in BEFORE_THE_PIVOT)
        ]
        (kind,) = self.chance.choices(kinds, [KINDS[kind] for kind in kinds])
        return kind(self, depth)


def action(maker: Maker, _: int) -> Json:
    """A command to a participant of a random effect class."""
    chance = maker.chance
    maker.left -= 1
    name = maker.name("a")
    (service,) = chance.choices(tuple(SERVICES), _OFTEN)
    number = "${ input.n }"
    if maker.known and maker.flip(0.3):
        number = f"${{ steps.{chance.choice(maker.known)}.output.n }}"
    elif maker.item and maker.flip(0.5):
        number = "${ item }"
    fields: dict[str, Any] = {
        "kind": "action",
        "id": name,
        "command": f"{service}.do",
        "effect": SERVICES[service],
        "input": {"n": number, "step": name, **_seen(maker)},
        "retry": _FOREVER if maker.after else _retry(chance.randint(1, 3)),
        "timeout": f"PT{chance.randint(1, 6)}S",
    }
    if service != "plains":
        fields["probe"] = maker.flip(0.4) or (maker.after and service == "mails")
    if maker.flip(0.12):
        fields["on_failure"] = "ignore"
    if maker.flip(0.08):
        fields["when"] = "${ input.n > 0 }"
    if maker.flip(0.08):
        fields["reversal"] = "read_only"
    else:
        fields["compensation"] = _compensation(maker, probe=bool(fields.get("probe")))
    if not {"on_failure", "when"} & fields.keys():
        maker.known.append(name)
    return fields


def _seen(maker: Maker) -> dict[str, Json]:
    """What an action sees of loops that are over, or of the plan that failed before."""
    if maker.lists and maker.flip(0.4):
        return {"seen": f"${{ steps.{maker.chance.choice(maker.lists)}.output }}"}
    return {"seen": "${ failure.type }"} if maker.failure and maker.flip(0.4) else {}


def _compensation(maker: Maker, *, probe: bool) -> Json:
    found: dict[str, Json] = {"timeout": f"PT{maker.chance.randint(1, 5)}S"}
    if maker.flip(0.2):
        found["input"] = {"n": "${ action.output.n }"}
    if probe and maker.flip(0.3):
        found["verify"] = True
    found["retry"] = {**_FOREVER, "max_attempts": None if maker.flip(0.7) else 2}
    return found


def _retry(attempts: int) -> Json:
    return {"max_attempts": attempts, "initial": "PT0.2S", "max": "PT2S"}


def parallel(maker: Maker, depth: int) -> Json:
    """Two or three branches."""
    names = "xyz"[: maker.chance.randint(2, 3)]
    branches = {name: maker.sequence(depth - 1, 2) for name in names}
    return {"kind": "parallel", "id": maker.name("p"), "branches": branches}


def choice(maker: Maker, depth: int) -> Json:
    """One case and another."""
    case = {"when": "${ input.n == 1 }", "steps": maker.sequence(depth - 1, 2)}
    otherwise = maker.sequence(depth - 1, 2)
    return {"kind": "choice", "id": maker.name("c"), "cases": [case], "otherwise": otherwise}


def each(maker: Maker, depth: int) -> Json:
    """Up to three items, one after the other or several at once."""
    chance, around = maker.chance, maker.item
    maker.item = True
    name, steps = maker.name("e"), maker.sequence(depth - 1, 2)
    maker.item = around
    if not around:  # within another one, it is a list only after that one
        maker.lists += [step["id"] for step in steps if step["kind"] == "action"]
    return {
        "kind": "each",
        "id": name,
        "items": [
            chance.randrange(3) for _ in range(chance.choices((0, 1, 2, 3), (1, 2, 4, 3))[0])
        ],
        "concurrency": chance.choice((1, 1, 2, 3)),
        "steps": steps,
    }


def repeat(maker: Maker, depth: int) -> Json:
    """Up to three iterations; now and then `until` does not hold after the last one."""
    name, turns = maker.name("r"), maker.chance.randint(1, 3)
    return {
        "kind": "repeat",
        "id": name,
        "until": f"${{ turn >= {turns} }}",
        "max": turns - 1 if turns > 1 and maker.flip(0.1) else 3,
        "steps": maker.sequence(depth - 1, 2),
    }


def alternatives(maker: Maker, depth: int) -> Json:
    """Two or three plans."""
    around = maker.failure
    plans: list[Json] = []
    for name in "pqr"[: maker.chance.randint(2, 3)]:
        plans.append({"name": name, "steps": maker.sequence(depth - 1, 2)})
        maker.failure = True
    maker.failure = around
    return {"kind": "alternatives", "id": maker.name("w"), "plans": plans}


def wait(maker: Maker, _: int) -> Json:
    """A moment, or until a time that may be past."""
    chance = maker.chance
    fields: dict[str, Json] = {"for": f"PT{chance.randint(1, 30) / 10}S"}
    if maker.flip(0.3):
        fields = {"until": f"2031-03-01T12:00:{chance.randint(0, 5):02d}Z"}
    return {"kind": "wait", "id": maker.name("t"), **fields}


KINDS: Final[Mapping[Callable[[Maker, int], Json], float]] = {
    action: 7,
    parallel: 2,
    choice: 1,
    each: 1.2,
    repeat: 1,
    alternatives: 1.5,
    wait: 0.7,
}
"""How often each kind of step is made. A new kind is a function above and a line here."""
BEFORE_THE_PIVOT: Final = frozenset({repeat, alternatives})
"""What the verifier refuses behind it."""


def _pivot(maker: Maker) -> Json:
    (service,) = maker.chance.choices(("books", "cards", "cars"), (2, 2, 1))
    fields: dict[str, Any] = {
        "kind": "action",
        "id": maker.name("v"),
        "command": f"{service}.do",
        "effect": SERVICES[service],
        "input": {"n": "${ input.n }"},
        "pivot": True,
        "probe": maker.flip(0.5),
        "retry": _retry(maker.chance.randint(1, 3)),
        "timeout": f"PT{maker.chance.randint(1, 6)}S",
    }
    if maker.flip(0.5):
        fields["reversal"] = "irreversible"
    else:
        fields["compensation"] = _compensation(maker, probe=bool(fields["probe"]))
    return fields


def random_document(chance: random.Random, name: str) -> Json:
    """A definition of one to about six actions, as a document."""
    maker = Maker(chance)
    steps: Steps = []
    while maker.left > 0:
        steps.append(maker.step(2))
    if maker.flip(0.25):
        steps.append(_pivot(maker))
        maker.after, maker.left = True, 1
        if maker.flip(0.5):
            steps += maker.sequence(1, 1)
    document: dict[str, Json] = {
        "name": name,
        "version": 1,
        "interrupt_after": "PT2S",
        "steps": steps,
    }
    if maker.flip(0.12):
        document["deadline"] = f"PT{chance.randint(3, 20)}S"
    _limit(document)
    return document


LIMITS: Final[Sequence[Json]] = (
    {"name": "narrow", "concurrency": 1},
    {"name": "keyed", "key": "${ input.n }", "concurrency": 1, "total": 2},
    {"name": "paced", "rate": {"count": 2, "per": "PT1S"}, "concurrency": 2},
)
"""What some actions share with those of other sagas; each name has one meaning in all."""


def _limit(document: Json) -> None:
    """Limits for the actions of every sixth definition; all else is as it was without them."""
    chance = random.Random(json.dumps(document, sort_keys=True))
    if chance.random() < 1 / 6:
        for step in steps_in(document):
            if step["kind"] == "action" and chance.random() < 0.5:
                cast("dict[str, Json]", step)["limit"] = dict(chance.choice(LIMITS))
