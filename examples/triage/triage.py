"""The saga `triage`: a ticket is read by a model, paid back if it asks for that, and answered.

The refund is a tool with an undo: if the answer cannot be written, the money is taken back.
"""

from typing import Literal

from pydantic import BaseModel

from amends_contracts.definition import Budget, Limits
from amends_contracts.messages import Reversal
from amends_contracts.plan import Plan
from triage.tools import Refund


class Ticket(BaseModel):
    """What a customer wrote."""

    order: str
    text: str


class Reading(BaseModel):
    """What it is about."""

    topic: Literal["refund", "praise"]
    usd: float


MODELS = ["scripted"]
EACH = Limits(usd=0.02)

plan = Plan("triage", version=1, input=Ticket, budget=Budget(usd=0.05, calls=6))
ticket = plan.input
reading = plan.llm(
    f"Read this ticket: {ticket.text}", output=Reading, models=MODELS, limits=EACH, max_reasks=2
)
refund = plan.tool(
    "refund",
    {"order": ticket.order, "usd": reading.usd},
    output=Refund,
    reversal=Reversal.COMPENSATABLE,
    when=reading.topic == "refund",
)
answer = plan.llm(
    f"Answer a ticket about {reading.topic}: {ticket.text}",
    models=MODELS,
    limits=EACH,
)
plan.returns(topic=reading.topic, text=answer.text)
