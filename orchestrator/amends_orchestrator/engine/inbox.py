"""What waits for the next batch, beside the broker's deliveries."""

import asyncio
from collections import deque
from collections.abc import Iterable

from amends_contracts.names import SagaId
from amends_orchestrator.core.inputs import Granted, Woke
from amends_orchestrator.engine.ports import Due, Grant
from amends_orchestrator.engine.work import ForSaga, Work


class Inbox:
    """A queue of work: starts and messages of this process, wake-ups, returned commands."""

    def __init__(self) -> None:
        self._works: deque[Work] = deque()
        self._waking: set[SagaId] = set()
        """Sagas woken and not looked at yet: they are not woken twice."""
        self._granted: set[Grant] = set()
        """Grants that are put in and not looked at yet: their sagas are not told twice."""
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._works)

    def put(self, work: Work) -> None:
        """Add work to the next batch."""
        self._works.append(work)
        self._news.set()

    def put_back(self, works: Iterable[Work]) -> None:
        """Work that did not fit: it comes first in the next batch."""
        self._works.extendleft(reversed(list(works)))
        self._news.set()

    def wake(self, due: Due) -> None:
        """Have a saga looked at, unless it is about to be."""
        if due.saga_id not in self._waking:
            self._waking.add(due.saga_id)
            self.put(ForSaga(saga_id=due.saga_id, message=Woke(), due=due))

    def grant(self, grant: Grant) -> None:
        """Tell a saga that a permit is its own, unless it is about to hear it."""
        if grant not in self._granted:
            self._granted.add(grant)
            self.put(
                ForSaga(saga_id=grant.saga_id, message=Granted(path=grant.step, ask=grant.ask))
            )

    def looked_at(self, work: Work) -> None:
        """It was decided; if it was a wake-up, the saga may be woken again. So with grants."""
        if not isinstance(work, ForSaga):
            return
        if work.due is not None:
            self._waking.discard(work.saga_id)
        elif isinstance(work.message, Granted):
            self._granted.discard(Grant(work.saga_id, work.message.path, work.message.ask))

    def take(self, limit: int) -> list[Work]:
        """What came first, at most `limit`."""
        return [self._works.popleft() for _ in range(min(limit, len(self._works)))]

    async def news(self) -> None:
        """Wait until there is work."""
        while not self._works:
            self._news.clear()
            await self._news.wait()
