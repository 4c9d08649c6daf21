"""An event loop whose time is virtual: no selector, no threads, the next timer is always now.

Real asyncio tasks, futures, locks and timeouts run on it unchanged. Everything happens in one
order that depends on nothing but what was scheduled, so a run can be repeated exactly.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

T = TypeVar("T")
CALLS_MAX: Final = 20_000
"""More than any run takes that comes to an end."""


class Endless(Exception):
    """Something goes on for ever."""


class Handle:
    """A call to come; `cancel` takes it back."""

    __slots__ = ("args", "callback", "cancelled", "context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.cancelled = False

    def cancel(self) -> None:
        """It will not be called."""
        self.cancelled = True


class VirtualLoop(asyncio.AbstractEventLoop):
    """What asyncio needs of a loop, and `run`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._calls = 0
        self.failures: list[BaseException] = []
        """What tasks raised and nobody asked for."""

    def time(self) -> float:
        """Seconds since the beginning of this world."""
        return self._now

    def get_debug(self) -> bool:
        """Never."""
        return False

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """Call it at this moment, after what was asked for before."""
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Any:
        """Call it in so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Any:
        """Call it at this time."""
        handle = Handle(callback, args, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[Any]":
        """A real task on this loop."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody asked for: a fault of the code under test, or of the simulator."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.failures.append(error)

    def is_running(self) -> bool:
        """Always, as far as anybody on it can see."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def run(self, until: float, done: Callable[[], bool]) -> bool:
        """Go on until `done`, asked whenever time is about to pass, or nothing before `until`."""
        before = events._get_running_loop()  # noqa: SLF001 - the only way to be a loop
        events._set_running_loop(self)  # noqa: SLF001 - as above
        try:
            while True:
                self._run_ready()
                if done():
                    return True
                if not self._pass_time(until):
                    return False
        finally:
            events._set_running_loop(before)  # noqa: SLF001 - as above

    def settle(self) -> None:
        """Run what is ready, without time passing, however much came before."""
        self._calls = 0
        self.run(self._now, lambda: True)

    def _run_ready(self) -> None:
        ready = self._ready
        while ready:
            self._calls += 1
            if self._calls > CALLS_MAX:
                raise Endless(f"after {CALLS_MAX} calls, at {self._now} s")
            handle = ready.popleft()
            if handle.cancelled:
                continue
            if handle.context is None:
                handle.callback(*handle.args)
            else:
                handle.context.run(handle.callback, *handle.args)

    def _pass_time(self, until: float) -> bool:
        """To the next timer; False if there is none before `until`."""
        timers = self._timers
        while timers and timers[0][2].cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] > until:
            self._now = max(self._now, until)
            return False
        when, _, handle = heapq.heappop(timers)
        self._now = max(self._now, when)
        self._ready.append(handle)
        return True


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")
