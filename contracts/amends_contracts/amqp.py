"""An AMQP message as plain data: what `codec` makes and reads, and transports carry.

No client library appears here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

HeaderValue: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmqpMessage:
    """One message with its address. All messages are persistent."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str | None = None
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    user_id: str | None = None
    headers: Mapping[str, HeaderValue] = field(default_factory=dict[str, HeaderValue])
    mandatory: bool = True
