"""Takes this run's own dead letters out of `amends.dead`; all others go back where they were."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Final

from amends_amqp.connection import Connection
from amends_amqp.errors import NOT_FOUND, Refused
from amends_contracts.amqp import AmqpMessage

CALL_S: Final = 10.0
LOOK_S: Final = 2.0
LETTERS_MAX: Final = 500
"""With more in the queue it is not looked through: an operator's letters are left in peace."""


async def sweep(url: str, queue: str, ours: AbstractSet[str]) -> int:
    """Remove letters with these message ids; how many stay. Raises OSError, TimeoutError."""
    if not ours:
        return 0
    async with asyncio.timeout(CALL_S):
        connection = await Connection.connect(url, name="amends conform/sweep")
        try:
            waiting, _ = await connection.declare_queue(queue, {}, passive=True)
            if waiting > LETTERS_MAX:
                return len(ours)
            return len(ours) - await _take(connection, queue, waiting, ours) if waiting else 0
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise
            return 0
        finally:
            await connection.close()


async def _take(connection: Connection, queue: str, waiting: int, ours: AbstractSet[str]) -> int:
    found: dict[int, AmqpMessage] = {}
    enough = asyncio.Event()

    def receive(letter: AmqpMessage, tag: int, _redelivered: bool) -> None:
        found[tag] = letter
        if len(found) >= waiting:
            enough.set()

    consumer = await connection.consume(queue, LETTERS_MAX, receive)
    try:
        async with asyncio.timeout(LOOK_S):
            await enough.wait()
    except TimeoutError:
        pass  # somebody else consumes it, too
    await connection.cancel(consumer)
    mine = [tag for tag, letter in found.items() if letter.message_id in ours]
    connection.acknowledge(mine)
    connection.requeue(found.keys() - set(mine))
    return len(mine)
