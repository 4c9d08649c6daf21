"""Dead-lettered commands, whose steps learn from here that nobody could take them.

All else that is dead-lettered is for operators alone.
"""

from dataclasses import replace

from amends_contracts.amqp import AmqpMessage, Delivery
from amends_contracts.codec import BadBody, WireError, decode_batch, decode_command, is_batch
from amends_contracts.names import Op, split_key
from amends_contracts.topology import Topology
from amends_orchestrator.core.inputs import DeadLettered
from amends_orchestrator.engine.reading import Reading, held
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.work import ForSaga, Handle

ANSWERED_OPS = frozenset({Op.ACTION, Op.COMPENSATION, Op.PROBE})


def dead_command(delivery: Delivery, topology: Topology, tokens: Tokens) -> Reading:
    """A command, or an envelope of several, as news for their steps."""
    message = delivery.message
    if not is_batch(message):
        reading = _read(message, message, tokens)
        for work in reading.works:
            work.handle = Handle(delivery.tag)
        return reading
    try:
        members = decode_batch(replace(message, exchange=topology.batches), topology)
    except WireError:
        return Reading([])
    reading = Reading([])
    for member in members:
        if isinstance(member, AmqpMessage):
            read = _read(member, message, tokens)
            reading.works += read.works
            reading.refused += read.refused
    return held(reading, delivery)


def _read(message: AmqpMessage, letter: AmqpMessage, tokens: Tokens) -> Reading:
    """One command; why it is dead stands in the headers of the letter."""
    try:
        command = decode_command(message)
    except BadBody as error:
        command = error.message
    except WireError:
        return Reading([])
    if command.key is None or command.saga_id is None:
        return Reading([])
    if not tokens.verify(command.key, command.token):
        return Reading([], refused=("dead-letter-token",))
    _, path, op = split_key(command.key)
    if path is None or op not in ANSWERED_OPS:
        return Reading([])
    headers = letter.headers
    reason = headers.get("amends-reason") or headers.get("x-first-death-reason") or "unknown"
    news = DeadLettered(path=path, op=op, attempt=command.attempt, reason=str(reason))
    return Reading([ForSaga(saga_id=command.saga_id, message=news)])
