"""A command in hand: what it came in, its span, and the context in which its work runs.

Commands of one group are worked on by one task; each handler sees its own context nevertheless, so
that spans and whatever else hangs on context variables do not leak from one command to the next.
"""

import types
from collections.abc import Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from typing import Any, TypeVar

from amends_contracts.amqp import AmqpMessage
from amends_contracts.messages import Command
from amends_participants.trace import Span, Tracing

T = TypeVar("T")


class Hold:
    """A delivery; acknowledged when everything in it is settled."""

    __slots__ = ("is_envelope", "left", "tag")

    def __init__(self, tag: Any, *, members: int | None = None) -> None:
        self.tag = tag
        self.is_envelope = members is not None
        self.left = 1 if members is None else members

    def settle(self) -> list[Any]:
        """One of its commands needs it no longer: the tag, if it was the last."""
        self.left -= 1
        return [] if self.left else [self.tag]


class Taken:
    """A command that was decoded and is not settled yet; `end` it when it is."""

    __slots__ = ("_ended", "_spanning", "_tags", "command", "context", "hold", "message", "span")

    def __init__(
        self, hold: Hold, message: AmqpMessage, command: Command, tracing: Tracing
    ) -> None:
        self.hold = hold
        self.message = message
        """As it would have come alone."""
        self.command = command
        self.context: Context = copy_context()
        self._spanning = tracing.start(command)
        self.span: Span = self.context.run(self._spanning.__enter__)
        self._ended = False
        self._tags: list[Any] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether its delivery waits for it no longer."""
        return self._tags is not None

    def settle(self) -> list[Any]:
        """Its reply is safe: what may be acknowledged now. Again it is the same."""
        if self._tags is None:
            self._tags = self.hold.settle()
        return self._tags

    def end(self) -> None:
        """Leave the span; again is no harm. Not from within its context."""
        if not self._ended:
            self._ended = True
            self.context.run(self._spanning.__exit__, None, None, None)


def settled(commands: Iterable[Taken]) -> list[Any]:
    """What may be acknowledged when these are settled."""
    return [tag for taken in commands for tag in taken.settle()]


@types.coroutine
def within(context: Context, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await `work` as a task of this context would, at a twentieth of a task's price."""
    resume, value = work.send, None
    while True:
        try:
            waits_for = context.run(resume, value)
        except StopIteration as returned:
            return returned.value
        try:
            value, resume = (yield waits_for), work.send
        except BaseException as error:  # noqa: BLE001 - a cancellation, too, is the handler's
            value, resume = error, work.throw
