"""What one attempt has used so far, and what is left of its limits."""

from dataclasses import dataclass
from typing import Final

from pydantic_ai.usage import RequestUsage

from amends_participants.effects import Effect
from amends_participants.llm.command import Most
from amends_participants.llm.prices import Prices

OUTPUT_DEFAULT: Final = 4096
"""Tokens of an answer under a limit, if the settings do not say `max_tokens`."""
FRAME_TOKENS: Final = 256
"""What providers put around a conversation, at most."""


@dataclass(frozen=True, slots=True)
class TooMuch:
    """The next call does not fit any more."""

    text: str


@dataclass(slots=True)
class Tally:
    """Counted as calls end; reported to the orchestrator with whatever the handler says."""

    effect: Effect
    prompt_digest: str
    model: str
    """Asked last."""
    answered_by: str | None = None
    calls: int = 0
    lost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    """None as soon as the price of some answer is unknown."""

    def began(self) -> None:
        """A call is made: until it ends, nobody knows what it uses."""
        self.calls += 1
        self.lost += 1
        self._report()

    def nothing_used(self) -> None:
        """The provider did not accept the call."""
        self.lost -= 1
        self._report()

    def answered(self, usage: RequestUsage, usd: float | None, by: str | None) -> None:
        """The call was answered."""
        self.lost -= 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.usd = None if usd is None or self.usd is None else self.usd + usd
        self.answered_by = by
        self._report()

    def _report(self) -> None:
        self.effect.used(
            model=self.model,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            usd=None if self.lost and self.lost == self.calls else self.usd,
            calls=self.calls,
            lost=self.lost,
            answered_by=self.answered_by,
            prompt_digest=self.prompt_digest,
        )

    def output_max(
        self, most: Most, asked_bytes: int, wanted: int | None, prices: Prices
    ) -> int | TooMuch | None:
        """How many tokens the next answer may have; None: that is not limited here.

        A token is at least one byte, so that the bytes of what is asked bound its tokens.
        """
        if most.tokens is None and most.usd is None:
            return wanted
        asked = asked_bytes + FRAME_TOKENS
        room = wanted or OUTPUT_DEFAULT
        if most.tokens is not None:
            room = min(room, most.tokens - self.input_tokens - self.output_tokens - asked)
        if most.usd is not None:
            room = min(room, _affordable(most.usd - (self.usd or 0.0), asked, room, prices))
        if room >= 1:
            return room
        return TooMuch(f"what is asked may have {asked} tokens: that does not fit its limits")


def _affordable(usd: float, asked: int, room: int, prices: Prices) -> int:
    """So many tokens of an answer can be paid for, at most `room`."""
    fixed, whole = prices.most(asked, 0), prices.most(asked, max(room, 1))
    assert fixed is not None, "asked only where the price is known"
    assert whole is not None, "asked only where the price is known"
    if whole <= usd:
        return room
    return int((usd - fixed) / (whole - fixed) * room) if whole > fixed else 0
