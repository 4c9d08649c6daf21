"""What was published on one channel and has not been confirmed. No IO.

Delivery tags count the publications of a channel from 1. A mandatory message that no queue took
comes back by `basic.return` before its own confirm, and is known by its message id.
"""

import asyncio
from collections.abc import Sequence

from amends_contracts.amqp import AmqpMessage, PublishResult


class Publication:
    """Messages published together; `results` fills as the broker speaks."""

    __slots__ = ("done", "left", "results")

    def __init__(self, count: int, done: "asyncio.Future[None]") -> None:
        self.results: list[PublishResult] = [PublishResult.UNKNOWN] * count
        self.left = count
        self.done = done

    def settled(self) -> None:
        """One of them needs no more waiting for."""
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Publications:
    """Everything unconfirmed, by tag."""

    def __init__(self) -> None:
        self._last = 0
        self._oldest = 1
        self._open: dict[int, tuple[Publication, int, str | None]] = {}
        self._by_id: dict[str, list[int]] = {}

    def add(self, publication: Publication, index: int, message: AmqpMessage) -> None:
        """The next message written to the channel."""
        self._last += 1
        message_id = message.message_id if message.mandatory else None
        self._open[self._last] = (publication, index, message_id)
        if message_id is not None:
            self._by_id.setdefault(message_id, []).append(self._last)

    def confirmed(self, tag: int, *, multiple: bool, positive: bool) -> None:
        """`basic.ack`, or with `positive` False `basic.nack`: that one, or all up to it."""
        if multiple:
            for each in range(self._oldest, tag + 1):
                self._settle(each, positive)
        else:
            self._settle(tag, positive)
        while self._oldest <= self._last and self._oldest not in self._open:
            self._oldest += 1

    def returned(self, message_id: str | None) -> None:
        """`basic.return`: of several under one id, the one published first."""
        tags = self._by_id.get(message_id or "")
        if tags and (entry := self._open.get(tags[0])) is not None:
            publication, index, _ = entry
            publication.results[index] = PublishResult.RETURNED

    def end(self) -> None:
        """The channel is gone: what is open stays unknown."""
        waiting: Sequence[tuple[Publication, int, str | None]] = list(self._open.values())
        self._open.clear()
        self._by_id.clear()
        for publication, _, _ in waiting:
            publication.settled()

    def _settle(self, tag: int, positive: bool) -> None:
        entry = self._open.pop(tag, None)
        if entry is None:
            return
        publication, index, message_id = entry
        if message_id is not None:
            tags = self._by_id[message_id]
            tags.remove(tag)
            if not tags:
                del self._by_id[message_id]
        if positive and publication.results[index] is PublishResult.UNKNOWN:
            publication.results[index] = PublishResult.CONFIRMED
        publication.settled()
