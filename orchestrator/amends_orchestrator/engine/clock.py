"""The clock of this process: pacing and deadlines of calls only; decisions use the database's."""

import asyncio
import time


class SystemClock:
    """`engine.ports.Clock` of a real process."""

    def monotonic(self) -> float:
        """Seconds, never going back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
