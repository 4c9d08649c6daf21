"""Starts by the clock: the owner of the first partition starts what schedules name, each time once.

That there is one at it saves work and nothing more: the start's key, `<schedule>@<time>`, is what
makes two that believe in being it start one saga. The time is the database's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from amends_contracts.messages import Start, StartAnswer
from amends_contracts.names import SagaId
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.cron import parse
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.engine.holdings import Holdings
from amends_orchestrator.engine.ports import Schedule, ScheduleMove, Store, StoreUnavailable

log = logging.getLogger(__name__)

ON_TIME: Final = timedelta(minutes=1)
"""A time that is not older than this has not been missed."""
DUE_MAX: Final = 100
LEADING: Final = 0
"""The partition whose owner looks."""
_LATER: Final = frozenset({ProblemType.NOT_READY, ProblemType.OVERLOADED})
"""Refusals that pass by themselves."""


class Starting(Protocol):
    """Starts a saga (`Orchestrator.start`)."""

    def __call__(
        self, tenant: str, by: str, start: Start, *, requested_by: str | None
    ) -> Awaitable[StartAnswer | Refused]: ...


class Scheduler:
    """Looks at schedules that are due, one look at a time."""

    def __init__(self, store: Store, holdings: Holdings, start: Starting) -> None:
        self._store = store
        self._holdings = holdings
        self._start = start
        self._wanted = asyncio.Event()

    def look(self) -> None:
        """Something is due."""
        if LEADING in self._holdings.consumed:
            self._wanted.set()

    async def run(self) -> None:
        """Look whenever something is due, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                now, due = await self._store.due_schedules(DUE_MAX)
                for schedule in due:
                    await self._fire(schedule, now)
            except StoreUnavailable as away:  # the next tick says again that something is due
                log.info("schedules not looked at: %s", away)

    async def _fire(self, schedule: Schedule, now: datetime) -> None:
        """Start what is due of one, then move it on; what passes by itself is tried again."""
        try:
            cron, zone = parse(schedule.cron), ZoneInfo(schedule.zone)
        except (ValueError, OSError, LookupError) as error:
            log.exception("schedule %s of %s cannot be read", schedule.name, schedule.tenant)
            await self._move(schedule, now + timedelta(hours=1), None, None, str(error)[:300])
            return
        last_at: datetime | None = None
        answer: StartAnswer | Refused | None = None
        for at in due_times(schedule, now):
            answer = await self._start(
                schedule.tenant,
                by(schedule),
                start_of(schedule, at),
                requested_by=schedule.added_by,
            )
            if isinstance(answer, Refused) and answer.type in _LATER:
                log.info("schedule %s of %s waits: %s", schedule.name, schedule.tenant, answer)
                return
            last_at = at
        following = cron.after(now, zone)
        assert following is not None, f"{schedule.cron} has ended"
        problem, saga_id = schedule.last_problem, None
        if isinstance(answer, Refused):
            problem = f"{answer.type}: {answer.detail}"[:300]
            log.warning("schedule %s of %s: %s", schedule.name, schedule.tenant, problem)
        elif answer is not None:
            problem, saga_id = None, answer.saga_id
        await self._move(schedule, following, last_at, saga_id, problem)

    async def _move(
        self,
        schedule: Schedule,
        next_at: datetime,
        last_at: datetime | None,
        saga_id: SagaId | None,
        problem: str | None,
    ) -> None:
        await self._store.move_schedule(
            ScheduleMove(
                tenant=schedule.tenant,
                name=schedule.name,
                seen=schedule.next_at,
                next_at=next_at,
                last_at=last_at,
                last_saga_id=saga_id,
                last_problem=problem,
            )
        )


def due_times(schedule: Schedule, now: datetime) -> Sequence[datetime]:
    """The times for which a saga is to be started now, oldest first, by the schedule's policy."""
    cron, zone = parse(schedule.cron), ZoneInfo(schedule.zone)
    passed = takewhile(lambda at: at >= schedule.next_at, cron.backward(now, zone))
    match schedule.catch_up:
        case "none":
            return [at for at in islice(passed, 1) if at >= now - ON_TIME]
        case "last":
            return list(islice(passed, 1))
        case "all":
            return list(islice(passed, schedule.catch_up_max))[::-1]


def start_of(schedule: Schedule, at: datetime) -> Start:
    """The start for one time; the same for whoever makes it."""
    return Start(
        definition=schedule.definition,
        version=schedule.version,
        key=start_key(schedule.name, at),
        input=schedule.input,
        labels=schedule.labels,
    )


def start_key(name: str, at: datetime) -> str:
    """`nightly@2026-03-01T02:00:00Z`."""
    return f"{name}@{at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"


def by(schedule: Schedule) -> str:
    """Who starts it, for the journal."""
    return f"schedule {schedule.name} ({schedule.added_by})"
