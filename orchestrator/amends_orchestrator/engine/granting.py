"""The grant loop: whoever waits for a permit gets the next free place, and is told by a message.

It looks when a decision of this orchestrator asked for a permit or gave one back, when a rate lets
the next one through, and with every tick while anybody waits. Any orchestrator may look at any
time, and none knows who holds what: that stands in the table.
"""

import asyncio
import logging
from typing import Final

from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.ports import Clock, Grants, Lane, Store, StoreUnavailable

log = logging.getLogger(__name__)

LANES_MAX: Final = 1_000
GRANTS_MAX: Final = 512
UNHEARD_S: Final = 5.0
"""A grant whose saga has not taken it for so long is told again, by anybody."""
BUSY_S: Final = 0.005
"""Pause after a look at which somebody else was granting."""
STRAYS_EVERY_S: Final = 60.0
STRAYS_MAX: Final = 1_000


class Granting:
    """Looks at the queues, one look at a time."""

    def __init__(self, store: Store, clock: Clock, inbox: Inbox) -> None:
        self._store = store
        self._clock = clock
        self._inbox = inbox
        self._wanted = asyncio.Event()
        self._next_at: float | None = None
        """When a rate lets the next one through, by this process's clock."""
        self._strays_at = 0.0

    def look(self) -> None:
        """Look at the queues soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Look whenever there is cause to, until cancelled."""
        while True:
            await self._cause()
            try:
                await self._look()
                await self._return_strays()
            except StoreUnavailable as away:  # the next tick is the next cause
                log.info("queues not looked at: %s", away)

    async def _cause(self) -> None:
        rest = None
        if self._next_at is not None:
            rest = max(0.0, self._next_at - self._clock.monotonic())
        try:
            async with asyncio.timeout(rest):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()
        self._next_at = None

    async def _look(self) -> None:
        """All queues, in stretches."""
        after: Lane | None = None
        while True:
            found = await self._store.grant(
                after, lanes=LANES_MAX, limit=GRANTS_MAX, unheard_s=UNHEARD_S
            )
            for grant in found.granted:
                self._inbox.grant(grant)
            self._note(found)
            if found.busy:
                self.look()
                await self._clock.sleep(BUSY_S)
                return
            after = found.last
            if after is None:
                if len(found.granted) >= GRANTS_MAX:
                    self.look()
                return

    def _note(self, found: Grants) -> None:
        if found.next_at is None:
            return
        at = self._clock.monotonic() + (found.next_at - found.now).total_seconds()
        self._next_at = at if self._next_at is None else min(at, self._next_at)

    async def _return_strays(self) -> None:
        now = self._clock.monotonic()
        if now < self._strays_at:
            return
        self._strays_at = now + STRAYS_EVERY_S
        found = await self._store.return_strays(STRAYS_MAX)
        if found:
            log.warning("%d permits taken back from sagas that have ended or are gone", found)
            self.look()
