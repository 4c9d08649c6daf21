"""The hook for traces: the runtime calls it around every command, whatever listens.

The default does nothing and costs nothing. Nothing here knows a telemetry library.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import Command, Outcome, Trace


class Span(Protocol):
    """One command at work."""

    @property
    def trace(self) -> Trace | None:
        """What the reply carries; None: nothing."""
        ...

    def ended(self, outcome: Outcome, problem_type: str | None) -> None:
        """How it ended; called once, before the span's context is left."""
        ...


class Tracing(Protocol):
    """Starts a span as a child of the command's trace context, current while the handler runs."""

    def start(self, command: Command) -> AbstractContextManager[Span]:
        """Enter it around the work on one command."""
        ...

    def watch(self, engine: AsyncEngine) -> None:
        """Show what is asked of this database below the spans of handlers."""
        ...


class _NoSpan:
    trace: Trace | None = None

    def ended(self, outcome: Outcome, problem_type: str | None) -> None:
        """Nothing is recorded."""


class NoTracing:
    """The default."""

    _context: AbstractContextManager[Span] = nullcontext(_NoSpan())

    def start(self, command: Command) -> AbstractContextManager[Span]:
        """Nothing is started."""
        return self._context

    def watch(self, engine: AsyncEngine) -> None:
        """Nothing is shown."""
