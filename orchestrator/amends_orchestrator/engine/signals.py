"""Signals kept for sagas that were not there: handed over when they are, dropped after a week.

Whoever starts a saga looks after its commit for what came early (`started`). A look that a crash
prevented is made up for by the sweep. Handing over is idempotent, for a saga knows its signals by
their ids: any orchestrator may do it, and several at once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from amends_contracts.messages import Signal
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import Signalled
from amends_orchestrator.core.state import SIGNALS_MAX
from amends_orchestrator.engine.dispatch import input_digest
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.ports import (
    Clock,
    EarlySignal,
    Kept,
    ReadySignal,
    SettledSignal,
    StartKey,
    Store,
    StoreUnavailable,
)
from amends_orchestrator.engine.work import ForSaga, Result, SignalKept

log = logging.getLogger(__name__)

SWEEP_S: Final = 5.0
AT_ONCE: Final = 200
KEPT_FOR: Final = timedelta(days=7)
FOR_GOOD: Final = frozenset(
    {
        ProblemType.NOT_FOUND,
        ProblemType.WRONG_STATE,
        ProblemType.BAD_REQUEST,
        ProblemType.KEY_CONFLICT,
        ProblemType.OVERLOADED,
    }
)
"""Refusals of a saga that no later attempt changes."""


async def for_key(
    store: Store, tenant: str, by: str, asked: Signal
) -> ForSaga | SignalKept | Refused:
    """A signal by definition and key: for its saga if that is there, else kept for it.

    Raises StoreUnavailable.
    """
    assert asked.definition is not None
    assert asked.key is not None
    to = StartKey(tenant=tenant, definition=asked.definition, key=asked.key)
    digest = input_digest({"event": asked.event, "data": asked.data})
    early = EarlySignal(
        to=to, id=asked.id, event=asked.event, by=by, digest=digest, data=asked.data
    )
    found = await store.keep_signal(early, SIGNALS_MAX)
    match found:
        case Kept.YES:
            return SignalKept()
        case Kept.OTHER:
            detail = f"signal {asked.id!r} was sent before, with another event or other data"
            return Refused(type=ProblemType.KEY_CONFLICT, detail=detail)
        case Kept.FULL:
            detail = f"{SIGNALS_MAX} signals wait for the saga with key {asked.key!r} already"
            return Refused(type=ProblemType.OVERLOADED, detail=detail)
        case _:
            pass
    if found.saga_id is None:
        detail = f"the saga with key {asked.key!r} was cancelled before it started"
        return Refused(type=ProblemType.WRONG_STATE, detail=detail)
    return ForSaga(saga_id=found.saga_id, message=_message(early), tenant=tenant)


def _message(signal: EarlySignal) -> Signalled:
    return Signalled(event=signal.event, id=signal.id, by=signal.by, data=signal.data)


@dataclass(slots=True)
class Signals:
    """The hand-over of one orchestrator."""

    store: Store
    clock: Clock
    inbox: Inbox

    async def run(self) -> None:
        """Sweep, until cancelled."""
        while True:
            await self.clock.sleep(SWEEP_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Drop what is old, and hand over what nobody looked for."""
        try:
            dropped = await self.store.drop_signals(KEPT_FOR.total_seconds())
            if dropped:
                log.warning("%d signals dropped: no saga came for them", dropped)
            await self._hand_over(await self.store.ready_signals(None, AT_ONCE))
        except StoreUnavailable as away:
            log.info("signals not looked at: %s", away)

    async def started(self, starts: Sequence[StartKey]) -> None:
        """These sagas have been committed: hand over what came before them."""
        try:
            await self._hand_over(await self.store.ready_signals(starts, AT_ONCE))
        except StoreUnavailable as away:
            log.info("early signals not looked at: %s", away)

    async def _hand_over(self, ready: Sequence[ReadySignal]) -> None:
        if not ready:
            return
        outcomes = await asyncio.gather(*(self._send(one) for one in ready))
        settled = [done for done in outcomes if done is not None]
        if settled:
            await self.store.settle_signals(settled)

    async def _send(self, ready: ReadySignal) -> SettledSignal | None:
        """Send it to its saga; None if it must be tried again."""
        signal = ready.signal
        refused: str | None = ProblemType.WRONG_STATE.value
        if ready.saga_id is not None:
            done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self.inbox.put(
                ForSaga(
                    saga_id=ready.saga_id,
                    message=_message(signal),
                    tenant=signal.to.tenant,
                    done=done,
                )
            )
            result = await done
            if isinstance(result, Refused) and not result.duplicate:
                if result.type not in FOR_GOOD:
                    return None
                refused = result.type.value
            else:
                refused = None
        return SettledSignal(to=signal.to, id=signal.id, saga_id=ready.saga_id, refused=refused)
