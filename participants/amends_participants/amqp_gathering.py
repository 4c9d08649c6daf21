"""One write to the socket for all frames of one turn of the event loop.

The AMQP client hands every frame to its writer by itself; a system call for each, and the broker
woken for each, costs more than all else that publishing does. Here frames gather until the loop
comes round, which is before anything can wait for them.
"""

import asyncio
from typing import Any, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

GATHERED_BYTES_MAX = 256 * 1024
"""Written at once, so that a flood is felt as one by whoever drains."""


class GatheringWriter:
    """A StreamWriter whose `write` gathers; everything else is the inner writer's own."""

    def __init__(self, inner: asyncio.StreamWriter) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        """Write soon, together with what else is written in this turn of the loop."""
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append(data)
        self._bytes += len(data)
        if self._bytes > GATHERED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write now what was gathered."""
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._bytes = 0
            self._inner.write(data)

    async def drain(self) -> None:
        """Wait until the socket has room; raises if it is lost."""
        self.flush()
        await self._inner.drain()

    def write_eof(self) -> None:
        """Nothing is written after this."""
        self.flush()
        self._inner.write_eof()

    def close(self) -> None:
        """Close, after what was gathered."""
        if not self._inner.is_closing():
            self.flush()
        self._inner.close()


class GatheringTransport(TransportFactory):
    """Connects as the client itself would, over TCP or TLS, and gathers writes."""

    def __init__(self, url: URL) -> None:
        self._inner = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The client's connection."""
        reader, inner = await self._inner.create(url, **kwargs)
        return reader, cast("asyncio.StreamWriter", GatheringWriter(inner))
