"""The mail service: its effect is outside, at a mail server that drops what it has seen before.

So the command is `keyed`: the SDK records the intent, calls the handler with a key that stays the
same over every attempt, and the mail server does the rest. Here a table stands for that server.
"""

import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from amends_participants import Effect, Failed, Participant
from trip.commands import SendMail, Sent
from trip.tables import driver_url, prepare, work

GREYLIST = text("""
INSERT INTO mail.greylisted (recipient) SELECT :to WHERE :to LIKE '%@greylist.example'
ON CONFLICT DO NOTHING
""")
SEND = text("""
INSERT INTO mail.sent (message_id, recipient, text) VALUES (:id, :to, :text) ON CONFLICT DO NOTHING
""")

app = Participant("mail")
server: AsyncEngine | None = None


@app.on_start
async def connect() -> None:
    """Reach the mail server."""
    global server  # noqa: PLW0603 - one per process, opened when there is an event loop
    url = os.environ["AMENDS_DATABASE_URL"]
    await prepare("mail", url)
    server = create_async_engine(driver_url(url), pool_size=4)


@app.on_stop
async def disconnect() -> None:
    """Leave it."""
    if server is not None:
        await server.dispose()


@app.action(SendMail, drill="a table that stands for the mail server")
async def send(cmd: SendMail, effect: Effect) -> Sent:
    """Hand the mail over under our key."""
    await work()
    if "@" not in cmd.to:
        raise Failed("bad-address", f"{cmd.to!r} is not a mail address")
    assert server is not None
    async with server.begin() as connection:
        seen_first = (await connection.execute(GREYLIST, {"to": cmd.to})).rowcount > 0
        if not seen_first:
            await connection.execute(SEND, {"id": effect.key, "to": cmd.to, "text": cmd.text})
    if seen_first:
        raise Failed("greylisted", f"{cmd.to}: try again later", retryable=True)
    return Sent(message_id=effect.key)
