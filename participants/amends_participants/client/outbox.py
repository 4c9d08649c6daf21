"""Starts written in the caller's own transaction, and the relay that sends them.

The caller's transaction decides alone: rolled back, and nothing was ever to be started; committed,
and it is started at least once, which is once, because a start is idempotent by its key. The table
lies in the caller's own Postgres (schema.sql).
"""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from amends_contracts.codec import (
    WireError,
    decode_client,
    dump_messages,
    encode_client,
    load_messages,
    trace_of,
)
from amends_contracts.messages import ClientMessage, Start, Trace
from amends_contracts.topology import Topology
from amends_participants.client.asking import Asking
from amends_participants.client.errors import Refused, Unavailable

log = logging.getLogger(__name__)

SCHEMA: Final = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
CLAIM_S: Final = 30.0
ROWS_AT_ONCE: Final = 100
ASK_TIMEOUT_S: Final = 20.0
"""Shorter than a claim: a row is let go before another relay takes it."""

_INSERT: Final = text("INSERT INTO amends_client_outbox (id, message) VALUES (:id, :message)")
_CLAIM: Final = text("""
UPDATE amends_client_outbox
SET claimed_until = clock_timestamp() + make_interval(secs => :claim_s)
WHERE id IN (
    SELECT id FROM amends_client_outbox
    WHERE refused IS NULL AND claimed_until < clock_timestamp()
    ORDER BY written_at LIMIT :rows FOR UPDATE SKIP LOCKED
)
RETURNING id, message
""")
_DELETE: Final = text("DELETE FROM amends_client_outbox WHERE id = ANY(:ids)")
_REFUSE: Final = text(
    "UPDATE amends_client_outbox SET refused = CAST(:problem AS json) WHERE id = :id"
)
_LET_GO: Final = text(
    "UPDATE amends_client_outbox SET claimed_until = '-infinity' WHERE id = ANY(:ids)"
)


@dataclass(frozen=True, slots=True)
class _Row:
    id: uuid.UUID
    message: ClientMessage
    message_id: str
    trace: Trace | None


async def create_outbox(conn: AsyncConnection) -> None:
    """Create the outbox's table where it is not there yet; the caller commits."""
    await conn.exec_driver_sql("SELECT pg_advisory_xact_lock(0x616d656e6474)")
    plain = re.sub(r"^\s*--.*$", "", SCHEMA, flags=re.MULTILINE)
    for statement in filter(str.strip, plain.split(";")):
        await conn.exec_driver_sql(statement)


async def write(
    target: AsyncSession | AsyncConnection,
    start: Start,
    trace: Trace | None,
    committed: Callable[[], None],
) -> None:
    """One row in the caller's transaction; `committed` is called after its commit."""
    id_ = uuid.uuid4()
    message = encode_client(start, Topology(), message_id=f"outbox:{id_}", trace=trace)
    await target.execute(_INSERT, {"id": id_, "message": dump_messages([message])})
    listened: Session | Connection
    if isinstance(target, AsyncSession):
        listened, name = target.sync_session, "after_commit"
    else:
        assert target.sync_connection is not None, "it has just been used"
        listened, name = target.sync_connection, "commit"

    def after(_: object) -> None:
        committed()

    event.listen(listened, name, after, once=True)


class Relay:
    """Sends what is in the outbox. Several may run, in as many processes."""

    def __init__(self, engine: AsyncEngine, asking: Asking, *, poll_s: float) -> None:
        self._engine = engine
        self._asking = asking
        self._poll_s = poll_s
        self._news = asyncio.Event()

    def nudge(self) -> None:
        """There is something new: look at once."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. The database or Amends may be away: it goes on when they are back."""
        while True:
            self._news.clear()
            try:
                while await self.once() == ROWS_AT_ONCE:
                    pass
            except (DBAPIError, OSError, TimeoutError) as error:
                log.warning("the outbox of starts cannot be read: %s", error)
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def once(self) -> int:
        """Send what is open now; how many rows were looked at."""
        async with self._engine.begin() as conn:
            claimed = await conn.execute(_CLAIM, {"claim_s": CLAIM_S, "rows": ROWS_AT_ONCE})
            stored: Sequence[Any] = claimed.all()
        rows: list[_Row] = []
        refused: dict[uuid.UUID, dict[str, Any]] = {}
        for id_, message in stored:
            try:
                rows.append(_row(id_, message))
            except WireError as error:
                refused[id_] = {"type": "amends:bad-request", "detail": error.reason}
        answers = await asyncio.gather(*(self._ask(row) for row in rows))
        sent = [row.id for row, answer in zip(rows, answers, strict=True) if answer is None]
        open_ = [row.id for row, a in zip(rows, answers, strict=True) if isinstance(a, Unavailable)]
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, Refused):
                refused[row.id] = answer.problem.to_json()
        await self._settle(sent, open_, refused)
        return len(stored)

    async def _ask(self, row: _Row) -> Refused | Unavailable | None:
        try:
            await self._asking.ask(
                row.message, message_id=row.message_id, trace=row.trace, timeout_s=ASK_TIMEOUT_S
            )
        except (Refused, Unavailable) as error:
            log.warning("a start from the outbox: %s", error)
            return error
        return None

    async def _settle(
        self,
        sent: list[uuid.UUID],
        open_: list[uuid.UUID],
        refused: dict[uuid.UUID, dict[str, Any]],
    ) -> None:
        if not sent and not open_ and not refused:
            return
        async with self._engine.begin() as conn:
            await conn.execute(_DELETE, {"ids": sent})
            await conn.execute(_LET_GO, {"ids": open_})
            for id_, problem in refused.items():
                await conn.execute(_REFUSE, {"id": id_, "problem": json.dumps(problem)})


def _row(id_: uuid.UUID, stored: bytes) -> _Row:
    (message,) = load_messages(stored)
    assert message.message_id is not None, "write() sets it"
    return _Row(id_, decode_client(message), message.message_id, trace_of(message))
