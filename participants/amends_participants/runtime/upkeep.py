"""What a runtime does beside answering: its lease, `hello`, dead intents, unconfirmed replies,
rows that were forgotten.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from amends_contracts.codec import encode_hello
from amends_contracts.drill import ENABLED
from amends_contracts.messages import ACCEPTS_BATCH
from amends_contracts.names import Key
from amends_participants.barrier import store
from amends_participants.runtime import outside
from amends_participants.runtime.outside import Job
from amends_participants.runtime.publishing import publish_surely
from amends_participants.runtime.scope import Scope
from amends_participants.transport import ParticipantTransport

log = logging.getLogger(__name__)

TAKEN_MAX: Final = 64
"""Intents or replies taken over at a time."""
PURGED_MAX: Final = 1000
RENEWALS_PER_LEASE: Final = 3
UPKEEP: Final = "upkeep"
"""Name of the tasks that do this work: what they commit belongs to no command."""


class Upkeep:
    """The periodic work of one runtime."""

    def __init__(
        self,
        scope: Scope,
        transport: ParticipantTransport,
        active: Collection[Key],
        revive: Callable[[Job], Awaitable[None]],
    ) -> None:
        self._scope = scope
        self._transport = transport
        self._active = active
        """Keys that this instance works on now."""
        self._revive = revive
        self._renewed_at = 0.0

    async def begin(self) -> None:
        """Before the first command: a lease, so that nobody takes our intents for dead."""
        await asyncio.create_task(self._renew(), name=UPKEEP)

    async def run(self) -> None:
        """Until cancelled. A turn that fails is said and repeated."""
        settings = self._scope.settings
        turns = (
            _every(settings.lease_s / RENEWALS_PER_LEASE, self._renew, at_once=False),
            _every(settings.hello_s, self._hello),
            _every(settings.sweep_s, self.sweep),
        )
        async with asyncio.TaskGroup() as group:
            for turn in turns:
                group.create_task(turn, name=UPKEEP)

    def is_alive(self) -> bool:
        """Whether the lease has been renewed lately (and so, whether the database answers)."""
        now = asyncio.get_running_loop().time()
        return now - self._renewed_at < self._scope.settings.lease_s

    async def _renew(self) -> None:
        scope = self._scope
        await scope.database.transact(
            lambda tx: store.renew_lease(tx, scope.instance, scope.service, scope.settings.lease_s)
        )
        self._renewed_at = asyncio.get_running_loop().time()

    async def _hello(self) -> None:
        accepts = {ACCEPTS_BATCH} if self._scope.settings.envelopes else set[str]()
        if self._scope.drilling.enabled:
            accepts.add(ENABLED)
        hello = self._scope.app.hello(str(self._scope.instance), accepts)
        message = encode_hello(hello, self._scope.topology)
        await self._transport.publish([message], self._scope.settings.publish_timeout_s)

    async def sweep(self) -> None:
        """Dead intents, replies that nobody confirmed, forgotten rows."""
        for job in await outside.revive(self._scope, self._active, TAKEN_MAX):
            log.info("settling %s, left by another process (%s)", job.key, job.revived)
            await self._revive(job)
        await self._publish_left()
        scope = self._scope
        await scope.database.transact(lambda tx: store.purge(tx, scope.service, PURGED_MAX))

    async def _publish_left(self) -> None:
        scope = self._scope
        own_after_s = scope.settings.publish_timeout_s * 3
        left = await scope.database.transact(
            lambda tx: store.take_replies(
                tx, scope.service, scope.instance, own_after_s=own_after_s, limit=TAKEN_MAX
            )
        )
        if left:
            messages = [message for _, message in left]
            await publish_surely(self._transport, messages, scope.settings.publish_timeout_s)
            ids = [n for n, _ in left]
            await scope.database.transact(lambda tx: store.delete_replies(tx, ids))


async def _every(
    seconds: float, turn: Callable[[], Awaitable[None]], *, at_once: bool = True
) -> None:
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await turn()
        except Exception:
            log.exception("upkeep failed; it is repeated in %s s", seconds)
        await asyncio.sleep(seconds)
