"""Publishing until the broker has said what became of a message."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_participants.transport import ParticipantTransport

log = logging.getLogger(__name__)

BACKOFF_S_MAX: Final = 5.0


async def publish_surely(
    transport: ParticipantTransport, messages: Sequence[AmqpMessage], timeout_s: float
) -> None:
    """Publish until each is confirmed or returned: the same message ids, again and again."""
    left = list(messages)
    backoff_s = 0.05
    while left:
        results = await transport.publish(left, timeout_s)
        for message, result in zip(left, results, strict=True):
            if result is PublishResult.RETURNED:
                log.warning(
                    "nobody takes replies at %s: %s was returned; is the orchestrator's"
                    " AMENDS_PREFIX the same?",
                    message.routing_key,
                    message.message_id,
                )
        left = [
            m for m, result in zip(left, results, strict=True) if result is PublishResult.UNKNOWN
        ]
        if left:
            await asyncio.sleep(random.uniform(0, backoff_s))
            backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)
