"""Server-sent events: a page's live part, sent whole whenever it is another one.

The browser keeps what is the same (`console.js`). Between changes a comment keeps the connection;
with it the viewer's right to look is checked again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, TypeVar

from starlette.responses import StreamingResponse

from amends_orchestrator.api.live import Live
from amends_orchestrator.engine.ports import BadData

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

HEARTBEAT_S: Final = 15.0
PACE_S: Final = 0.1
"""Least time between two events to one viewer."""


async def each(find: Callable[[K], Awaitable[V]], wanted: Sequence[K]) -> Mapping[K, V]:
    """What a poll that all viewers share finds, by key.

    One that makes no sense (a cursor that no page has given, a text that no database keeps) is left
    out, so that it disturbs nobody else.
    """
    found: dict[K, V] = {}
    for one in wanted:
        with contextlib.suppress(ValueError, BadData):
            found[one] = await find(one)
    return found


def event(html: str, name: str = "page") -> bytes:
    """One event; each line of the text is a data line."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{lines}\n".encode()


async def pages(
    live: Live[K, V],
    key: K,
    seen: V | None,
    render: Callable[[V], Awaitable[tuple[str, bool]]],
    allowed: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    """The events of one viewer. `render` says whether more can follow; `allowed`, who may look."""
    yield b"retry: 1000\n: open\n\n"
    while not live.closed:
        version = await live.changed(key, seen, HEARTBEAT_S)
        if not await allowed():
            return
        if version is None:
            yield b": here\n\n"
            continue
        seen = version
        html, more = await render(version)
        yield event(html)
        if not more:
            yield event("over", "end")
            return
        await asyncio.sleep(PACE_S)


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """The response of a live page."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
