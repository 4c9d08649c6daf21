"""Which partitions this orchestrator works on, and when it has to look at them next.

Written by the lease loop, read by the others: no decision about ownership is made here.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from amends_orchestrator.engine.ports import Clock

TICK_S: Final = 1.0
TICK_S_MIN: Final = 0.02


class Holdings:
    """Partitions consumed here, how many there are in all, and the time of the next look."""

    def __init__(self, clock: Clock, *, tick_s: float = TICK_S) -> None:
        self._clock = clock
        self._tick_s = tick_s
        self._next_at = 0.0
        self._sooner = asyncio.Event()
        self.consumed: set[int] = set()
        self.partitions = 0
        """P; 0 before the first tick."""
        self.lag_s = 0.0
        """How late the latest wake-up was."""
        self.ticked_at: float | None = None
        """When the lease was last renewed."""

    def for_starts(self) -> Sequence[int]:
        """Where new sagas go: to our own partitions; without any, to everybody's."""
        return sorted(self.consumed) or range(max(1, self.partitions))

    def note_wake(self, now: datetime, wake_at: datetime) -> None:
        """A deadline, by the database's clock: look then, if that is sooner than planned."""
        self.look_in((wake_at - now).total_seconds())

    def look_in(self, seconds: float) -> None:
        """Look after so long at the latest."""
        at = self._clock.monotonic() + max(TICK_S_MIN, seconds)
        if at < self._next_at:
            self._next_at = at
            self._sooner.set()

    def looking(self) -> None:
        """A look begins; the next one is a tick away, or as soon as something says so."""
        self._next_at = self._clock.monotonic() + self._tick_s

    async def next_look(self) -> None:
        """Wait until it is time."""
        while (rest := self._next_at - self._clock.monotonic()) > 0:
            self._sooner.clear()
            try:
                async with asyncio.timeout(rest):
                    await self._sooner.wait()
            except TimeoutError:
                return
