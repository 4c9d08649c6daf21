"""What is published to the dead-letter exchange in place of a message that cannot be used."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from amends_contracts.amqp import AmqpMessage, HeaderValue

REASON_CHARS_MAX: Final = 1000
KEPT: Final = ("amends-", "traceparent", "tracestate", "baggage")
"""Beginnings of the headers that a dead letter keeps."""
KEPT_BYTES_MAX: Final = 64 * 1024
"""Of these together. All headers must fit into one frame (128 KiB), or no publication succeeds."""


def rejected(message: AmqpMessage, dead_exchange: str, reason: str) -> AmqpMessage:
    """The dead letter. Its publisher's `user_id` is not ours to claim: a header keeps it."""
    headers: dict[str, HeaderValue] = {
        **_kept(message.headers),
        "amends-reason": reason[:REASON_CHARS_MAX],
        "amends-exchange": message.exchange,
    }
    if message.user_id:
        headers["amends-user-id"] = message.user_id
    return replace(message, exchange=dead_exchange, headers=headers, user_id=None, mandatory=False)


def _kept(headers: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    kept = {name: value for name, value in headers.items() if name.startswith(KEPT)}
    size = sum(len(name.encode()) + len(str(value).encode()) for name, value in kept.items())
    return kept if size <= KEPT_BYTES_MAX else {}
