"""A command in hand: its delivery, its span, and the context in which its work runs.

Commands of one group are worked on by one task; each handler sees its own context nevertheless, so
that spans and whatever else hangs on context variables do not leak from one command to the next.
"""

import types
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar

from amends_contracts.messages import Command
from amends_participants.trace import Span, Tracing
from amends_participants.transport import Delivery

T = TypeVar("T")


class Taken:
    """A delivery that was decoded and is not acknowledged yet; `end` it when it is."""

    __slots__ = ("_ended", "_spanning", "command", "context", "delivery", "span")

    def __init__(self, delivery: Delivery, command: Command, tracing: Tracing) -> None:
        self.delivery = delivery
        self.command = command
        self.context: Context = copy_context()
        self._spanning = tracing.start(command)
        self.span: Span = self.context.run(self._spanning.__enter__)
        self._ended = False

    def end(self) -> None:
        """Leave the span; again is no harm. Not from within its context."""
        if not self._ended:
            self._ended = True
            self.context.run(self._spanning.__exit__, None, None, None)


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
