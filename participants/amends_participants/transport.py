"""The port to a broker: what a participant's runtime needs of one, and no more.

Implementations: `transport_amqp` (RabbitMQ) and, by structural typing, the in-process broker of
the orchestrator's embedded mode, which this package never imports.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.topology import Queue


class Delivery(Protocol):
    """A message that arrived and is not yet acknowledged."""

    @property
    def tag(self) -> Any:
        """Handle for `acknowledge` and `reject`; opaque, stale after a reconnect."""
        ...

    @property
    def queue(self) -> str:
        """Where it came from."""
        ...

    @property
    def message(self) -> AmqpMessage:
        """The message as it was published."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether the broker has delivered it before."""
        ...


class ParticipantTransport(Protocol):
    """A broker. Reconnects by itself for ever; consumers are restored; nothing raises for long."""

    async def open(self, queues: Sequence[Queue]) -> None:
        """Connect, wait until the exchanges are there, declare and bind these queues."""
        ...

    async def close(self) -> None:
        """Stop; what is not acknowledged goes back to the broker."""
        ...

    def is_connected(self) -> bool:
        """Whether the broker is there now (for readiness)."""
        ...

    async def consume(self, queue: str, prefetch: int) -> None:
        """Deliver a queue into `arrived`, at most `prefetch` unacknowledged; idempotent."""
        ...

    async def cancel(self, queue: str) -> None:
        """Stop delivering a queue; what was delivered stays here to be worked on. Idempotent."""
        ...

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[Delivery]:
        """What has arrived, at most `limit`; waits for the first up to `timeout_s`."""
        ...

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish with confirms, pipelined; what became of each."""
        ...

    async def acknowledge(self, tags: Sequence[Any]) -> None:
        """Acknowledge; tags from before a reconnect are ignored."""
        ...

    async def reject(self, tag: Any, reason: str) -> None:
        """Dead-letter one delivery with the reason, confirmed before it is acknowledged."""
        ...
