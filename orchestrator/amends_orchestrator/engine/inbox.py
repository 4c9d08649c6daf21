"""What waits for the next batch, beside the broker's deliveries."""

import asyncio
from collections import deque
from collections.abc import Iterable

from amends_contracts.names import SagaId
from amends_orchestrator.core.inputs import Woke
from amends_orchestrator.engine.ports import Due
from amends_orchestrator.engine.work import ForSaga, Work


class Inbox:
    """A queue of work: starts and messages of this process, wake-ups, returned commands."""

    def __init__(self) -> None:
        self._works: deque[Work] = deque()
        self._waking: set[SagaId] = set()
        """Sagas woken and not looked at yet: they are not woken twice."""
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

    def looked_at(self, work: Work) -> None:
        """It was decided; if it was a wake-up, the saga may be woken again."""
        if isinstance(work, ForSaga) and work.due is not None:
            self._waking.discard(work.saga_id)

    def take(self, limit: int) -> list[Work]:
        """What came first, at most `limit`."""
        return [self._works.popleft() for _ in range(min(limit, len(self._works)))]

    async def news(self) -> None:
        """Wait until there is work."""
        while not self._works:
            self._news.clear()
            await self._news.wait()
