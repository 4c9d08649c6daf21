"""The service `tools`: a refund that can be taken back, and no larger than it may be."""

from pydantic import BaseModel

from amends_participants import Effect
from amends_participants.tools import participant, tool

PAID: dict[str, float] = {}
"""What a payment service would keep, by idempotency key."""


class Refund(BaseModel):
    """Money on its way back."""

    id: str
    usd: float


@tool(effect="keyed", cap="usd <= 100")
async def refund(effect: Effect, order: str, usd: float) -> Refund:
    """Pay back, once per key."""
    PAID[effect.key] = usd
    return Refund(id=f"refund-{order}", usd=usd)


@refund.undo
async def charge_back(effect: Effect) -> None:
    """Take it back: it is found by its key, whether its outcome is known or not."""
    PAID.pop(effect.key, None)


app = participant(refund)
