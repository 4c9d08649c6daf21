"""Metered work: what a saga has spent and reserved, and whether one more call fits its budget.

A reservation is journalled with the dispatch of an attempt and settled by what ends the attempt.
What ends without saying what it used leaves its reservation spent: it may have been paid for.
Money is counted in whole billionths of a dollar, so that sums do not depend on their order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from amends_contracts.definition import Budget
from amends_contracts.messages import Json
from amends_contracts.names import StepPath

NANO: Final = 10**9
LOST: Final[Mapping[str, Json]] = {"calls": 1, "lost": 1}
"""The usage of an attempt that ended without a word about it."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Of model calls, tokens, and money."""

    calls: int = 0
    tokens: int = 0
    nanousd: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.calls + other.calls, self.tokens + other.tokens, self.nanousd + other.nanousd
        )

    def at_least(self, other: "Amount") -> "Amount":
        """The larger of the two, each kind for itself."""
        return Amount(
            max(self.calls, other.calls),
            max(self.tokens, other.tokens),
            max(self.nanousd, other.nanousd),
        )


NOTHING: Final = Amount()


@dataclass(frozen=True, slots=True)
class Meter:
    """What is spent, and what each step in flight may still spend."""

    spent: Amount = NOTHING
    reserved: Mapping[StepPath, Amount] = field(default_factory=dict[StepPath, Amount])

    @property
    def committed(self) -> Amount:
        """The sum that must never pass the budget."""
        return sum(self.reserved.values(), self.spent)

    def reserve(self, path: StepPath, amount: Amount) -> "Meter":
        """An attempt is dispatched (or, after a return, the same one again)."""
        return Meter(self.spent, {**self.reserved, path: amount})

    def settle(self, path: StepPath, usage: Json) -> "Meter":
        """The attempt is over; `usage` None: it used nothing."""
        reserved = self.reserved.get(path)
        if reserved is None:
            return self
        left = {at: amount for at, amount in self.reserved.items() if at != path}
        spent = NOTHING if usage is None else used(usage, reserved)
        return Meter(self.spent + spent, left)


UNUSED: Final = Meter()


def used(usage: Json, reserved: Amount) -> Amount:
    """What counts as spent: what is not known counts as it was reserved."""
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    usd = usage.get("usd")
    known = Amount(usage.get("calls", 1), tokens, ceil((usd or 0) * NANO))
    if usage.get("lost"):
        return known.at_least(reserved)
    return known if usd is not None else known.at_least(Amount(nanousd=reserved.nanousd))


def nanousd(usd: float) -> int:
    """An amount of money that a definition names."""
    return round(usd * NANO)


def exceeded(budget: Budget, meter: Meter, more: Amount) -> str | None:
    """Which limit one more call would pass, in words; None if it fits."""
    then = meter.committed + more
    if budget.calls is not None and then.calls > budget.calls:
        return f"{then.calls} model calls, and {budget.calls} are allowed"
    if budget.tokens is not None and then.tokens > budget.tokens:
        return f"{then.tokens} tokens, and {budget.tokens} are allowed"
    if budget.usd is not None and then.nanousd > nanousd(budget.usd):
        return f"{then.nanousd / NANO:.6f} USD, and {budget.usd} are allowed"
    return None


def amount_to_json(amount: Amount) -> Json:
    """Its numbers, in the order of the fields."""
    return [amount.calls, amount.tokens, amount.nanousd]


def amount_from_json(data: Json) -> Amount:
    """The inverse of `amount_to_json`."""
    return Amount(*data)


def meter_to_json(meter: Meter) -> Json:
    """Spent and reserved."""
    reserved = {path: amount_to_json(amount) for path, amount in meter.reserved.items()}
    return {"spent": amount_to_json(meter.spent)} | ({"reserved": reserved} if reserved else {})


def meter_from_json(data: Json) -> Meter:
    """The inverse of `meter_to_json`."""
    reserved = data.get("reserved", {}).items()
    return Meter(
        amount_from_json(data["spent"]),
        {path: amount_from_json(amount) for path, amount in reserved},
    )
