"""How much is done at once, and how much of it is kept for undo."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Slots:
    """`concurrency` places, of which new work takes at most three quarters."""

    def __init__(self, concurrency: int) -> None:
        self._all = asyncio.Semaphore(concurrency)
        self._new = asyncio.Semaphore(max(1, concurrency - max(1, concurrency // 4)))

    @asynccontextmanager
    async def taken(self, *, undo: bool) -> AsyncGenerator[None]:
        """Hold a place; undo waits for nothing but undo, unless there is one place in all."""
        if undo:
            async with self._all:
                yield
        else:
            async with self._new, self._all:
                yield
