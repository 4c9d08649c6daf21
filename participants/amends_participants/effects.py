"""What handlers are given beside their command: `Effect`, and for compensations `Undo`."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from amends_contracts import messages
from amends_contracts.names import Key, SagaId

TOKENS_MAX: Final = 2**53
"""The most that a reply can say."""

C = TypeVar("C")
"""A command."""
Out = TypeVar("Out")
"""A command's output."""


@dataclass(slots=True, kw_only=True, eq=False)
class Effect:
    """The identity of one effect. Hand `key` to whatever honours idempotency keys."""

    key: Key
    """Idempotency key; the same for every attempt."""
    attempt: int
    saga_id: SagaId
    step: str
    """Step path, `legs[2].flight`."""
    tenant: str | None = None
    deadline: datetime | None = None
    """When the orchestrator stops waiting for this attempt; advice."""
    token: str | None = None
    """Proof that the orchestrator asked for this key."""
    definition: str | None = None
    """`book-trip@3`."""
    begun_before: bool = False
    """Another process began it under this key and died: what that has used is not known."""
    _usage: messages.Usage | None = field(default=None, repr=False)
    _progress: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)

    def used(
        self,
        *,
        model: str,
        input_tokens: int,
        output_tokens: int,
        usd: float | None,
        calls: int = 1,
        lost: int = 0,
        answered_by: str | None = None,
        prompt_digest: str | None = None,
    ) -> None:
        """Report what this effect consumed; `usd` None: price unknown. The last call counts.

        It is reported however the handler ends. `lost` of the `calls` are those of which nobody
        can tell what they used. ValueError for what is no amount: a number of tokens is whole,
        and nothing is negative, infinite or NaN.
        """
        numbers = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "calls": calls,
            "lost": lost,
        }
        for name, number in numbers.items():
            whole = type(number) is int and 0 <= number <= TOKENS_MAX
            if not whole:
                raise ValueError(f"{name} is {number}: it must be an int from 0 to {TOKENS_MAX}")
        if usd is not None and not 0 <= usd <= sys.float_info.max:
            raise ValueError(f"usd is {usd}: it must be a finite number >= 0, or None if unknown")
        self._usage = messages.Usage(
            input_tokens,
            output_tokens,
            usd,
            model,
            calls=calls,
            lost=lost,
            answered_by=answered_by,
            prompt_digest=prompt_digest,
        )

    @property
    def usage(self) -> messages.Usage | None:
        """What `used` was told."""
        return self._usage

    async def progress(self) -> None:
        """Say that the work goes on: the step's timeout begins anew, up to ten times."""
        if self._progress is not None:
            await self._progress()


@dataclass(slots=True, kw_only=True, eq=False)
class Undo(Generic[C, Out]):
    """What a compensation undoes; its handler is called only where the effect is, or may be."""

    input: C
    """The action's command."""
    output: Out | None
    """What the action answered; None if that is unknown: find the effect by `key`."""
    key: Key
    """Idempotency key of the ACTION."""
    effect: Effect
    """The identity of the undo itself, with a key of its own."""
    body: Any = None
    """The compensation's body as it came, for plans with a mapping of their own."""


def effect_of(
    command: messages.Command, progress: Callable[[], Awaitable[None]] | None = None
) -> Effect:
    """The identity that a command's headers carry."""
    assert command.key is not None, "only forget has no key"
    saga_id, _, rest = command.key.partition("/")  # its form was checked when it was decoded
    return Effect(
        key=command.key,
        attempt=command.attempt,
        saga_id=SagaId(saga_id),
        step=rest.rpartition("/")[0],
        tenant=command.tenant,
        deadline=command.deadline,
        token=command.token,
        definition=command.definition,
        _progress=progress,
    )
