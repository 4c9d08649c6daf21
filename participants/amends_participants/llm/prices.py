"""What tokens cost, as far as it is known: given with the step or the participant, else the table
of genai-prices. What is not known is None, never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from genai_prices import Usage, calc_price
from pydantic_ai.models import Model
from pydantic_ai.usage import RequestUsage

from amends_participants.llm.command import Price

MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of one model."""

    model: Model
    given: Price | None

    def cost(self, usage: RequestUsage) -> float | None:
        """In dollars, of one call; None if the price is unknown."""
        if self.given is not None:
            asked = usage.input_tokens * self.given.input_usd
            return (asked + usage.output_tokens * self.given.output_usd) / MILLION
        return self._listed(
            Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
            )
        )

    def most(self, input_tokens: int, output_tokens: int) -> float | None:
        """What a call may cost at most, nothing of it having been cached."""
        return self.cost(RequestUsage(input_tokens=input_tokens, output_tokens=output_tokens))

    def _listed(self, usage: Usage) -> float | None:
        """By the address that is asked: another's server under a known name has no known price."""
        name, url = self.model.model_name, self.model.base_url
        try:
            if url is None:
                price = calc_price(usage, name, provider_id=self.model.system)
            else:
                price = calc_price(usage, name, provider_api_url=url)
        except LookupError:
            return None
        return float(price.total_price)


def price_of(name: str, step: Mapping[str, Price], known: Mapping[str, Price]) -> Price | None:
    """The price that was given: the step's own comes first."""
    return step.get(name) or known.get(name)
