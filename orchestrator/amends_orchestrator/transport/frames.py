"""Between AmqpMessage and what the AMQP client has: properties, headers, deliveries.

Values that a header of ours cannot have (tables, lists, timestamps) are left out on reading.
"""

from collections.abc import Mapping
from typing import Final

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from amends_contracts.amqp import AmqpMessage, HeaderValue

PERSISTENT: Final = 2
SHORT_STRING_BYTES_MAX: Final = 255
KEPT: Final = ("amends-", "traceparent", "tracestate", "baggage")
"""Beginnings of the headers that a dead letter keeps."""
KEPT_BYTES_MAX: Final = 64 * 1024
"""Of these together. All headers must fit into one frame (128 KiB), or no publication succeeds."""


def properties_of(message: AmqpMessage) -> Basic.Properties:
    """The AMQP properties of a message; always persistent."""
    return Basic.Properties(
        message_id=message.message_id,
        message_type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        content_type=message.content_type,
        user_id=message.user_id,
        headers=dict(message.headers) or None,
        delivery_mode=PERSISTENT,
    )


def message_of(delivered: DeliveredMessage) -> AmqpMessage:
    """A delivery as plain data."""
    properties = delivered.header.properties
    return AmqpMessage(
        exchange=delivered.exchange or "",
        routing_key=delivered.routing_key or "",
        body=delivered.body,
        message_id=properties.message_id,
        type=properties.message_type,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        content_type=properties.content_type,
        user_id=properties.user_id,
        headers=_scalars(properties.headers or {}),
    )


def rejected(message: AmqpMessage, dead_exchange: str, reason: str) -> AmqpMessage:
    """What is published to the dead-letter exchange in place of `message`.

    The publisher's `user_id` is not ours to claim: it is kept in a header.
    """
    headers: dict[str, HeaderValue] = {
        **_kept(message.headers),
        "amends-reason": reason[:1000],
        "amends-exchange": message.exchange,
    }
    if message.user_id:
        headers["amends-user-id"] = message.user_id
    return AmqpMessage(
        exchange=dead_exchange,
        routing_key=message.routing_key,
        body=message.body,
        message_id=message.message_id,
        type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        content_type=message.content_type,
        headers=headers,
        mandatory=False,
    )


def _kept(headers: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    kept = {name: value for name, value in headers.items() if name.startswith(KEPT)}
    size = sum(len(name.encode()) + len(str(value).encode()) for name, value in kept.items())
    return kept if size <= KEPT_BYTES_MAX else {}


def _scalars(headers: Mapping[str, object]) -> dict[str, HeaderValue]:
    plain: dict[str, HeaderValue] = {}
    for name, value in headers.items():
        if value is None or isinstance(value, str | int | float | bool):
            plain[name] = value
        elif isinstance(value, bytes | bytearray):
            plain[name] = bytes(value).decode("utf-8", "replace")
    return plain
