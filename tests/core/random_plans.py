"""Random definitions that the verifier accepts: actions, parallels and choices, nested."""

import random
from typing import Any

from amends_contracts.definition import Definition
from core.dsl import action, choice, definition, parallel

_FOREVER = {"max_attempts": None, "initial": "PT0.5S", "max": "PT2S"}


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0

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
            mapping = {"n": "${ action.output.n }"} if self.flip(0.5) else None
            verify = fields["probe"] and self.flip(0.5)
            fields["compensation"] = {"input": mapping, "verify": verify}
        return action(self.name("a"), **fields)

    def pivot(self) -> Any:
        fields: dict[str, Any] = {"pivot": True, "probe": self.flip(0.6)}
        if self.flip(0.5):
            fields["reversal"] = "irreversible"
        return action(self.name("v"), retry={"max_attempts": self.chance.randint(1, 3)}, **fields)

    def sequence(self, depth: int, *, after: bool) -> list[Any]:
        return [self.step(depth, after=after) for _ in range(self.chance.randint(1, 3))]

    def step(self, depth: int, *, after: bool) -> Any:
        dice = self.chance.random()
        if depth == 0 or dice < 0.6:
            return self.action(after=after)
        if dice < 0.85:
            names = "abc"[: self.chance.randint(2, 3)]
            branches: dict[str, Any] = {
                name: self.sequence(depth - 1, after=after) for name in names
            }
            return parallel(self.name("p"), None, **branches)
        case = ("${ input.n == 1 }", self.sequence(depth - 1, after=after))
        return choice(self.name("c"), case, otherwise=self.sequence(depth - 1, after=after))


def random_definition(seed: int) -> Definition:
    """A definition of about one to fifteen actions."""
    maker = _Maker(random.Random(seed))
    steps = maker.sequence(2, after=False)
    if maker.flip(0.6):
        steps += [maker.pivot(), *maker.sequence(1, after=True)]
    fields = {"deadline": "PT5M"} if maker.flip(0.2) else {}
    return definition(*steps, **fields)
