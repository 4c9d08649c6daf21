"""Tasks beside the loops, supervised: one that fails ends the orchestrator."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """A task group whose tasks can be cancelled together, as the end of a drain needs."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run it; its exception is the group's."""
        task = self._group.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def cancel(self) -> None:
        """Cancel whatever still runs."""
        for task in list(self._running):
            task.cancel()
