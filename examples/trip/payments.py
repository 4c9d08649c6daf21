"""The payments service: a FastStream application that takes part in sagas.

Its handlers are subscribers of its own RabbitBroker: middlewares, injected dependencies and
AsyncAPI are FastStream's, barrier, confirms and draining come with the adapter. Without a broker
(`amends dev`) the same handlers run in a plain Participant.
"""

import os

from faststream.rabbit import RabbitBroker
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_participants import Effect, Failed, Participant, Undo
from amends_participants.faststream import FastStreamParticipant
from trip.commands import ChargeCard, Receipt
from trip.tables import prepare, work

OPEN_ACCOUNT = text("""
INSERT INTO payments.account (traveller, opening, balance) VALUES (:traveller, 5000, 5000)
ON CONFLICT DO NOTHING
""")
CHARGE = text("""
WITH paid AS (
    UPDATE payments.account SET balance = balance - :usd
    WHERE traveller = :traveller AND balance >= :usd
    RETURNING traveller
)
INSERT INTO payments.charge (key, traveller, usd, memo)
SELECT :key, traveller, :usd, :memo FROM paid RETURNING id
""")
REFUND = text("""
WITH refunded AS (
    UPDATE payments.charge SET refunds = refunds + 1 WHERE key = :key RETURNING traveller, usd
)
UPDATE payments.account SET balance = balance + refunded.usd
FROM refunded WHERE account.traveller = refunded.traveller
""")

BROKER_URL = os.environ.get("AMENDS_BROKER_URL", "")

app: Participant
if BROKER_URL.startswith("amqp"):
    app = FastStreamParticipant("payments", RabbitBroker(BROKER_URL))
else:
    app = Participant("payments")


@app.on_start
async def tables() -> None:
    """Create this service's own tables where they are missing."""
    await prepare("payments", os.environ["AMENDS_DATABASE_URL"])


@app.action(ChargeCard, drill="its own accounts, of the traveller named in the input")
async def charge(cmd: ChargeCard, tx: AsyncConnection, effect: Effect) -> Receipt:
    """Take the money, or decline."""
    await work()
    await tx.execute(OPEN_ACCOUNT, {"traveller": cmd.traveller})
    row = (await tx.execute(CHARGE, {"key": effect.key, **cmd.model_dump()})).first()
    if row is None:
        raise Failed("declined", f"{cmd.traveller} cannot pay {cmd.usd} USD")
    return Receipt(id=f"R-{row.id}")


@app.compensation(ChargeCard)
async def refund(undo: Undo[ChargeCard, Receipt], tx: AsyncConnection) -> None:
    """Pay it back."""
    await work()
    await tx.execute(REFUND, {"key": undo.key})
