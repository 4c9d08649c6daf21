"""One connection to an MCP server, kept open by a task of its own and made anew when it breaks."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from mcp import Client

Connect = Callable[[], AbstractAsyncContextManager[Client]]


class Session:
    """Whoever calls finds it open: the client lives in the task that entered it."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._over = asyncio.Event()
        self._lock = asyncio.Lock()

    async def client(self) -> Client:
        """The open client; raises what keeps it from being opened."""
        async with self._lock:
            if self._task is None or self._task.done():
                self._client = asyncio.get_running_loop().create_future()
                self._over = asyncio.Event()
                self._task = asyncio.create_task(self._hold(self._client, self._over))
            assert self._client is not None
            return await asyncio.shield(self._client)

    async def close(self) -> None:
        """Leave the server; a later call opens it anew."""
        self._over.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _hold(self, opened: asyncio.Future[Client], over: asyncio.Event) -> None:
        try:
            async with self._connect() as client:
                opened.set_result(client)
                await over.wait()
        except Exception as error:
            if not opened.done():
                opened.set_exception(error)
                return
            raise
