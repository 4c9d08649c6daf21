"""`/healthz` and `/readyz` over plain HTTP, for whoever supervises the process. Off by default."""

import asyncio
import json
from collections.abc import Callable
from typing import Final, Self

from amends_participants.runtime.settings import ParticipantSettings

REQUEST_TIMEOUT_S: Final = 5


class Health:
    """A context manager that answers while it is open, if AMENDS_HEALTH_PORT is set."""

    def __init__(self, settings: ParticipantSettings, is_ready: Callable[[], bool]) -> None:
        self._settings = settings
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int | None:
        """Where it listens (with port 0: where it found a free one)."""
        return None if self._server is None else self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        if self._settings.health_port is not None:
            self._server = await asyncio.start_server(
                self._serve, self._settings.health_host, self._settings.health_port
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
                writer.write(self._answer(line))
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return
        finally:
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        words = line.decode("latin-1").split()
        path = words[1] if len(words) > 1 and words[0] in {"GET", "HEAD"} else ""
        match path.partition("?")[0]:
            case "/healthz":
                status, body = "200 OK", {"status": "alive"}
            case "/readyz" if self._is_ready():
                status, body = "200 OK", {"status": "ready"}
            case "/readyz":
                status, body = "503 Service Unavailable", {"status": "not ready"}
            case _:
                status, body = "404 Not Found", {"status": "no such page"}
        content = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if words[:1] == ["HEAD"] else content)
