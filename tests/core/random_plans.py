"""Random definitions that the verifier accepts: all kinds that this version runs, nested."""

import random
from typing import Any

from amends_contracts.definition import Definition
from core.dsl import (
    action,
    alternatives,
    awaits,
    child,
    choice,
    definition,
    each,
    parallel,
    repeat,
    review,
    wait,
)

EVENTS = ("paid", "packed")
_FOREVER = {"max_attempts": None, "initial": "PT0.5S", "max": "PT2S"}


class _Maker:
    def __init__(self, chance: random.Random, people: random.Random) -> None:
        self.chance = chance
        self.people = people
        """Draws who is asked, apart: the other steps of a seed stay what they are."""
        self.count = 0
        self.known: list[str] = ["${ input.n }"]
        """Expressions that have a value (or are null) where the next step stands."""

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def flip(self, p: float) -> bool:
        return self.chance.random() < p

    def action(self, *, after: bool) -> Any:
        fields: dict[str, Any] = {
            "retry": _FOREVER if after else {"max_attempts": self.chance.randint(1, 3)},
            "probe": self.flip(0.4),
            "timeout": f"PT{self.chance.randint(1, 40)}S",
        }
        if self.flip(0.5):
            fields["input"] = {"x": self.chance.choice(self.known)}
        if self.flip(0.15):
            fields["on_failure"] = "ignore"
        if self.flip(0.1):
            fields["when"] = "${ input.n > 0 }"
        if self.flip(0.1) and (not after or "on_failure" in fields or fields["probe"]):
            fields["effect"] = "none"
        if self.flip(0.15):
            fields["limit"] = {"key": "${ input.n }", "concurrency": 1}
        if self.flip(0.1):
            fields["reversal"] = "read_only"
        elif self.flip(0.3):
            mapping = None
            if self.flip(0.5):
                mapping = {"n": "${ action.output.n }", "x": self.chance.choice(self.known)}
            verify = fields["probe"] and self.flip(0.5)
            fields["compensation"] = {"input": mapping, "verify": verify}
        if self.people.random() < 0.12 and (not after or "on_failure" in fields):
            fields["review"] = self.asked()
            if self.people.random() < 0.3:
                fields["review"]["when"] = "${ input.n > 0 }"
            if self.people.random() < 0.3:
                fields["review"]["valid_for"] = f"PT{self.people.randint(1, 60)}S"
        return self.known_as(action(self.name("a"), **fields))

    def asked(self) -> dict[str, Any]:
        """Who decides, and until when."""
        asked: dict[str, Any] = {"quorum": self.people.randint(1, 2), "form": {"type": "object"}}
        if self.people.random() < 0.3:
            asked["assignees"] = ["ann", "bea", "role:lead"]
        if self.people.random() < 0.5:
            asked["expires"] = f"PT{self.people.randint(1, 90)}S"
            asked["on_expiry"] = self.people.choice(["reject", "approve", "escalate"])
            if asked["on_expiry"] == "escalate":
                asked["escalate_to"] = ["ann", "bea", "cleo"]
        return asked

    def review(self) -> Any:
        shown = {"x": self.people.choice(self.known)}
        return self.known_as(review(self.name("q"), show=shown, **self.asked()))

    def pivot(self) -> Any:
        fields: dict[str, Any] = {"pivot": True, "probe": self.flip(0.6)}
        if self.flip(0.5):
            fields["reversal"] = "irreversible"
        return action(self.name("v"), retry={"max_attempts": self.chance.randint(1, 3)}, **fields)

    def await_(self, *, after: bool) -> Any:
        fields: dict[str, Any] = {}
        if self.flip(0.5):
            ignore = after or self.flip(0.5)
            fields = {"timeout": f"PT{self.chance.randint(1, 90)}S"}
            fields |= {"on_timeout": "ignore"} if ignore else {}
        if self.flip(0.1):
            fields["when"] = "${ input.n > 0 }"
        return self.known_as(awaits(self.name("w"), self.chance.choice(EVENTS), **fields))

    def child(self) -> Any:
        given = {"n": self.chance.choice(self.known)}
        return self.known_as(child(self.name("s"), "other", input=given, **self.when()))

    def known_as(self, made: dict[str, Any]) -> dict[str, Any]:
        """Its output may be named by what follows."""
        self.known.append(f"${{ steps.{made['id']}.output }}")
        return made

    def sequence(self, depth: int, *, after: bool) -> list[Any]:
        steps: list[Any] = []
        for _ in range(self.chance.randint(1, 3)):
            if not after and self.people.random() < 0.06:
                steps.append(self.review())
            steps.append(self.step(depth, after=after))
        return steps

    def body(self, depth: int, *names: str, after: bool) -> list[Any]:
        """A sequence with names of its own; what it does may be named after it, too."""
        known = self.known
        self.known = [*known, *names]
        steps = self.sequence(depth - 1, after=after)
        found = [name for name in self.known[len(known) + len(names) :] if ".output" in name]
        self.known = [*known, *found]
        return steps

    def step(self, depth: int, *, after: bool) -> Any:
        if self.flip(0.12):
            return self.await_(after=after)
        if not after and self.flip(0.1):
            return self.child()
        if depth == 0 or self.flip(0.5):
            return self.action(after=after)
        makers = [self.parallel, self.choice, self.each, self.wait]
        if not after:
            makers += [self.each, self.repeat, self.alternatives, self.alternatives]
        return self.chance.choice(makers)(depth, after=after)

    def when(self) -> dict[str, Any]:
        return {"when": "${ input.n > 0 }"} if self.flip(0.1) else {}

    def parallel(self, depth: int, *, after: bool) -> Any:
        return parallel(self.name("p"), None, **self.separate(depth, after=after))

    def separate(self, depth: int, *names: str, after: bool) -> dict[str, Any]:
        """Sequences that do not know of each other; all but the first have `names`."""
        known = self.known
        made: dict[str, Any] = {}
        found: list[str] = []
        for name in "abc"[: self.chance.randint(2, 3)]:
            self.known = known
            made[name] = self.body(depth, *(names if made else ()), after=after)
            found += self.known[len(known) :]
        self.known = [*known, *found]
        return made

    def choice(self, depth: int, *, after: bool) -> Any:
        known = self.known
        case = ("${ input.n == 1 }", self.body(depth, after=after))
        found, self.known = self.known[len(known) :], known
        otherwise = self.body(depth, after=after)
        self.known = [*self.known, *found]
        return choice(self.name("c"), case, otherwise=otherwise)

    def each(self, depth: int, *, after: bool) -> Any:
        items: Any = self.chance.choice(["${ input.items }", ["x"], ["x", "y"], []])
        if not after and self.flip(0.05):
            items = "${ input.maybe }"
        name = self.name("e")
        steps = self.body(depth, "${ item }", "${ index }", after=after)
        concurrency = self.chance.randint(1, 3)
        return each(name, items, *steps, concurrency=concurrency, **self.when())

    def repeat(self, depth: int, *, after: bool) -> Any:
        name = self.name("r")
        steps = self.body(depth, "${ turn }", after=after)
        until = self.chance.choice(["${ turn >= 2 }", "${ turn > input.n }", "${ true }"])
        return repeat(name, until, *steps, turns=self.chance.randint(1, 3), **self.when())

    def alternatives(self, depth: int, *, after: bool) -> Any:
        name = self.name("o")
        plans = self.separate(depth, "${ failure.type }", after=after)
        return alternatives(name, **self.when(), **plans)

    def wait(self, depth: int, *, after: bool) -> Any:
        time: dict[str, Any] = {"for": f"PT{self.chance.randint(0, 90)}S"}
        if self.flip(0.3):
            time = {"until": "2026-03-01T12:01:00Z"}
        return wait(self.name("w"), **time, **self.when())


def random_definition(seed: int) -> Definition:
    """A definition of about one to fifteen actions."""
    maker = _Maker(random.Random(seed), random.Random(f"people of {seed}"))
    steps = maker.sequence(2, after=False)
    if maker.flip(0.6):
        steps += [maker.pivot(), *maker.sequence(1, after=True)]
    fields = {"deadline": "PT5M"} if maker.flip(0.2) else {}
    return definition(*steps, **fields)
