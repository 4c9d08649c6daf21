"""The saga `refund`: a person says what it is about, a lead approves what would be paid.

The payment cannot be taken back, and stands before no pivot: that is allowed behind a review.
`amends verify refund.py` checks it.
"""

from pydantic import BaseModel, Field

from amends_contracts.command import Command
from amends_contracts.plan import Plan


class Ticket(BaseModel):
    """What a customer wrote, and what was paid."""

    order: str
    text: str
    usd: float = Field(gt=0)


class Paid(BaseModel):
    """A refund that went through."""

    id: str


class Note(Command[None], name="orders.note"):
    """Mark an order as disputed; undone by taking the mark away."""

    order: str


class Refund(Command[Paid], name="payments.refund", reversal="irreversible"):
    """Pay money back."""

    order: str
    usd: float


class Payout(BaseModel):
    """What a lead may change before it is paid."""

    order: str
    usd: float = Field(gt=0, le=500)


plan = Plan("refund", version=1, input=Ticket)
ticket = plan.input
plan.do(Note(order=ticket.order))
asked = plan.review(
    f"What about order {ticket.order}?",
    {"markdown": ticket.text, "order": ticket.order, "usd": ticket.usd},
    form=Payout,
    assignees=["role:support"],
    expires="2d",
)
paid = plan.do(
    Refund(order=asked.order, usd=asked.usd),
    review=plan.guard(
        title=f"Refund order {ticket.order}?",
        form=Payout,
        assignees=["role:lead"],
        not_requester=True,
        expires="1d",
        on_expiry="escalate",
        escalate_to=["role:head"],
        valid_for="1h",
    ),
)
plan.returns(receipt=paid.id)
