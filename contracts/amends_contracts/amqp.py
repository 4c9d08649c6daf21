"""An AMQP message as plain data, and what becomes of it: what `codec` makes and reads, and
transports carry.

No client library appears here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
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


class PublishResult(StrEnum):
    """What became of one publication; CONFIRMED and RETURNED settle it, UNKNOWN does not."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    UNKNOWN = "unknown"
    """A nack, a timeout or a lost connection: publish again under the same message id."""


@dataclass(frozen=True, slots=True)
class DeliveryTag:
    """Acknowledgement handle; `generation` tells the connection it belongs to."""

    generation: int
    tag: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that arrived, not yet acknowledged."""

    tag: DeliveryTag
    queue: str
    message: AmqpMessage
    redelivered: bool = False
