"""Waiting for change: one poll per process for everybody who waits or watches.

A waiter names a key (a saga, a list with its filter) and the version it has seen, and is woken
when the version is another one. All keys that anybody waits for are asked for together; while
nobody waits nothing runs and nothing is asked. The pace follows the youngest waiter: quick at
first, because most sagas end within a moment, then slower.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AFTER_ERROR_S: Final = 1.0


class _Waiter(Generic[V]):
    __slots__ = ("future", "seen", "since")

    def __init__(self, seen: V | None, since: float) -> None:
        self.seen = seen
        self.since = since
        self.future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()


class Live(Generic[K, V]):
    """Versions by key, polled together and only while somebody waits.

    `fetch` gives the present versions of keys; one that it leaves out has none, and whoever waits
    for it waits on. It may raise: the poll says so once and goes on, waiters run into their own
    timeouts.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        pace_min_s: float = 0.05,
        pace_max_s: float = 0.5,
        share_max: float = 0.05,
    ) -> None:
        self._fetch = fetch
        self._pace_min_s = pace_min_s
        self._pace_max_s = pace_max_s
        self._share_max = share_max
        """A poll never takes more than this share of the time, however slow the database."""
        self._waiters: dict[K, set[_Waiter[V]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0
        """When the next poll is wanted; a newcomer brings it forward."""
        self._not_before = 0.0
        """When it is allowed: after a slow or failed one, later."""
        self._arrived = asyncio.Event()
        self._closed = False

    async def changed(self, key: K, seen: V | None, timeout_s: float) -> V | None:
        """The version of `key` once it is not `seen`; None after the timeout or at closing."""
        if self._closed or timeout_s <= 0:
            return None
        waiter = _Waiter(seen, time.monotonic())
        self._due = min(self._due, waiter.since + self._pace_min_s)
        self._arrived.set()
        self._waiters.setdefault(key, set()).add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(), name="live poll")
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.future
        except TimeoutError:
            return None
        finally:
            waiting = self._waiters.get(key)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiters[key]

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(map(len, self._waiters.values()))

    @property
    def closed(self) -> bool:
        """Whether the process is going down."""
        return self._closed

    async def close(self) -> None:
        """Let everybody go, so that the server can end; nobody can wait afterwards."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.future.done():
                    waiter.future.set_result(None)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _pace_s(self) -> float:
        """A quarter of the youngest waiter's age, within bounds."""
        youngest = max((w.since for ws in self._waiters.values() for w in ws), default=0.0)
        age = time.monotonic() - youngest
        return min(self._pace_max_s, max(self._pace_min_s, age / 4))

    async def _poll(self) -> None:
        failing = False
        while self._waiters:
            pause = max(self._due, self._not_before) - time.monotonic()
            if pause > 0:
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._arrived.wait()
                continue
            began = time.monotonic()
            try:
                self._wake(await self._fetch(list(self._waiters)))
                failing = False
            except Exception as error:  # noqa: BLE001 - whoever waits must not hang for any error
                if not failing:
                    log.warning("live poll: %s", error)
                failing = True
            ended = time.monotonic()
            spent = AFTER_ERROR_S if failing else (ended - began) / self._share_max
            self._not_before = ended + spent
            self._due = ended + self._pace_s()
            await asyncio.sleep(0)  # those just woken leave, or wait again with what they saw

    def _wake(self, versions: Mapping[K, V]) -> None:
        for key, version in versions.items():
            for waiter in self._waiters.get(key, ()):
                if version != waiter.seen and not waiter.future.done():
                    waiter.future.set_result(version)
