"""When something is tried again: full jitter, drawn from arguments, never from chance.

A delay is a pure function of saga, step path, operation and attempt, so that replay and every
replica agree on it, and sagas that failed together do not come back together.
"""

import hashlib
from datetime import timedelta
from typing import Final

from amends_contracts.definition import Retry
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.state import OpState

RETRY_AFTER_MAX: Final = timedelta(days=1)
"""A participant's `amends-retry-after` is honoured up to this."""
UNDELIVERABLE: Final = Retry(max_attempts=None, max=timedelta(minutes=5))
"""While nobody runs the participant. Uses no attempt."""
PROBE: Final = Retry(max_attempts=5, max=timedelta(seconds=30))
"""Probes of one doubt. Uses no attempt."""
PROBE_TIMEOUT: Final = timedelta(seconds=30)


def fraction(saga_id: SagaId, path: StepPath, what: str, n: int) -> float:
    """A number in [0, 1), always the same for the same arguments and evenly spread otherwise."""
    text = f"{saga_id}/{path}/{what}/{n}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64


def ceiling(retry: Retry, n: int) -> timedelta:
    """The longest delay after try `n` (from 1): `initial * factor ** (n - 1)`, at most `max`."""
    try:
        grown = retry.initial.total_seconds() * retry.factor ** (n - 1)
    except OverflowError:
        return retry.max
    return min(timedelta(seconds=min(grown, 1e9)), retry.max)


def delay(
    retry: Retry,
    n: int,
    fraction: float,
    retry_after: timedelta | None = None,
) -> timedelta:
    """Full jitter between 0 and the ceiling, and at least what the participant asked for."""
    jittered = ceiling(retry, n) * fraction
    if retry_after is None:
        return jittered
    return max(jittered, min(retry_after, RETRY_AFTER_MAX))


def attempts_left(retry: Retry, op: OpState) -> bool:
    """Whether the policy allows one more attempt. An operator's retry gives a new budget."""
    return retry.max_attempts is None or op.attempt - op.base < retry.max_attempts
