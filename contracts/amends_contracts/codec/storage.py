"""The byte form of messages in an outbox row: exact, compact, versioned.

`AM`, one byte of version, four bytes of length, that many bytes of JSON with everything but the
bodies, and then the bodies one after another. Names of exchanges and headers, which repeat, stand
once. A release reads what the one before it wrote; another version byte is refused, never guessed.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec.headers import WireError

VERSION: Final = 1
_HEAD: Final = struct.Struct(">2sBI")
_MAGIC: Final = b"AM"
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def dump_messages(messages: Sequence[AmqpMessage]) -> bytes:
    """The messages, byte for byte."""
    exchanges: dict[str, int] = {}
    shapes: dict[tuple[str, ...], int] = {}
    rows: list[tuple[Any, ...]] = []
    for message in messages:
        names = tuple(message.headers)
        rows.append(
            (
                exchanges.setdefault(message.exchange, len(exchanges)),
                message.routing_key,
                message.message_id,
                message.type,
                message.correlation_id,
                message.reply_to,
                message.content_type,
                message.user_id,
                message.mandatory,
                len(message.body),
                shapes.setdefault(names, len(shapes)),
                *message.headers.values(),
            )
        )
    index = _encode((tuple(exchanges), tuple(shapes), rows)).encode()
    head = _HEAD.pack(_MAGIC, VERSION, len(index))
    return b"".join((head, index, *(message.body for message in messages)))


def load_messages(stored: bytes) -> list[AmqpMessage]:
    """What `dump_messages` was given; WireError for bytes that it cannot have made."""
    if len(stored) < _HEAD.size or stored[:2] != _MAGIC:
        raise WireError("outbox row: expected messages, got other bytes")
    _, version, length = _HEAD.unpack_from(stored)
    if version != VERSION:
        raise WireError(f"outbox row: expected version {VERSION}, got {version}")
    at = _HEAD.size + length
    try:
        exchanges, shapes, rows = json.loads(stored[_HEAD.size : at])
        messages: list[AmqpMessage] = []
        for row in rows:
            exchange, routing_key, id_, type_, saga, reply_to, content, user, must, size, shape = (
                row[:11]
            )
            messages.append(
                AmqpMessage(
                    exchange=exchanges[exchange],
                    routing_key=routing_key,
                    body=stored[at : at + size],
                    message_id=id_,
                    type=type_,
                    correlation_id=saga,
                    reply_to=reply_to,
                    content_type=content,
                    user_id=user,
                    headers=dict(zip(shapes[shape], row[11:], strict=True)),
                    mandatory=must,
                )
            )
            at += size
    except (ValueError, TypeError, IndexError) as error:
        raise WireError(f"outbox row: damaged, {error}") from error
    if at != len(stored):
        raise WireError(f"outbox row: expected {at} bytes, got {len(stored)}")
    return messages
