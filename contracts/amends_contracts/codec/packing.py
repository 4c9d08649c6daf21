"""Messages for one address as few publications: envelopes within their limits, and single ones.

What a publication holds is kept beside it, so that an envelope that came back can be sent singly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec.batches import (
    BATCH_BYTES_MAX,
    BATCH_MEMBERS_MAX,
    join_members,
    member_bytes,
)


@dataclass(frozen=True, slots=True)
class Packed:
    """One publication."""

    message: AmqpMessage
    members: Sequence[AmqpMessage] = ()
    """What the envelope holds; nothing of a message that travels alone."""

    @property
    def singles(self) -> Sequence[AmqpMessage]:
        """The messages that it stands for."""
        return self.members or (self.message,)


def pack(
    members: Sequence[AmqpMessage],
    *,
    exchange: str,
    routing_key: str,
    new_id: Callable[[], str],
) -> list[Packed]:
    """Envelopes in the order given; what would be alone in one travels as it is."""
    packed: list[Packed] = []
    taken: list[AmqpMessage] = []
    parts: list[bytes] = []
    size = 2
    for member in members:
        part = member_bytes(member)
        if taken and (len(taken) == BATCH_MEMBERS_MAX or size + len(part) > BATCH_BYTES_MAX):
            packed.append(_packed(taken, parts, exchange, routing_key, new_id))
            taken, parts, size = [], [], 2
        taken.append(member)
        parts.append(part)
        size += len(part) + 1
    if taken:
        packed.append(_packed(taken, parts, exchange, routing_key, new_id))
    return packed


def _packed(
    members: Sequence[AmqpMessage],
    parts: Sequence[bytes],
    exchange: str,
    routing_key: str,
    new_id: Callable[[], str],
) -> Packed:
    if len(members) == 1:
        return Packed(members[0])
    envelope = join_members(parts, exchange=exchange, routing_key=routing_key, message_id=new_id())
    return Packed(envelope, members)
