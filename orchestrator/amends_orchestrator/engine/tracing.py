"""What the engine tells telemetry, as a port: who listens derives spans, the engine none.

Calls are made on the hot path and must not wait or raise. Without telemetry `NoTracing` costs a
call that does nothing.
"""

from datetime import datetime
from typing import Protocol

from amends_contracts.messages import Trace
from amends_orchestrator.core.decision import Decision, Send
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.state import Identity


class Tracing(Protocol):
    """Trace context for what is sent, and notes of what happened."""

    def started(self, identity: Identity, trace: Trace | None) -> str | None:
        """The trace id for a new saga's row; `trace` is the context of whoever asked for it."""
        ...

    def command(self, identity: Identity, send: Send) -> Trace | None:
        """The context that the command carries; the same for every call with the same send."""
        ...

    def decided(
        self, identity: Identity, message: Input | None, decision: Decision, now: datetime
    ) -> None:
        """A decision that is committed; `message` None is the start."""
        ...


class NoTracing:
    """Telemetry is off."""

    def started(self, identity: Identity, trace: Trace | None) -> str | None:
        """No trace."""
        return None

    def command(self, identity: Identity, send: Send) -> Trace | None:
        """No trace."""
        return None

    def decided(
        self, identity: Identity, message: Input | None, decision: Decision, now: datetime
    ) -> None:
        """Nothing."""
