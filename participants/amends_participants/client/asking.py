"""The port through which verbs are asked, and how a repeated question stays the same one."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Final, Protocol

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from amends_contracts.messages import ClientMessage, Json, Trace
from amends_contracts.problems import Problem, ProblemType

BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 2.0
_PASSING: Final = frozenset({ProblemType.OVERLOADED, ProblemType.NOT_READY})


class Asking(Protocol):
    """Asks a verb until it is answered: over the broker or REST."""

    async def ask(
        self, message: ClientMessage, *, message_id: str, trace: Trace | None, timeout_s: float
    ) -> Json:
        """The answer. Refused if it is a problem; Unavailable if there is none in time.

        The message is repeated under the same id until then; every verb is idempotent.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; questions under way end as Unavailable."""
        ...


def is_passing(problem: Problem) -> bool:
    """Whether the same question may be answered otherwise in a moment."""
    return problem.type in _PASSING


async def backoff() -> AsyncIterator[None]:
    """Yields at once, and then after ever longer pauses with full jitter, for ever."""
    pause_s = BACKOFF_S_MIN
    while True:
        yield
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
        pause_s = min(pause_s * 2, BACKOFF_S_MAX)


def current_trace() -> Trace | None:
    """The caller's trace context, in which the saga's trace begins."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    if "traceparent" not in carrier:
        return None
    W3CBaggagePropagator().inject(carrier)
    return Trace(carrier["traceparent"], carrier.get("tracestate"), carrier.get("baggage"))
