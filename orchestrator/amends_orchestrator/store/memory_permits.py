"""The in-memory twin of `sql/permits.sql`: who waits, who is at work, and who comes next."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, TypeAlias

from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.decision import Ask
from amends_orchestrator.engine.ports import Grant, Grants, Lane, SagaWrite

KEPT: Final = timedelta(seconds=10)
"""How long a returned permit is remembered where no rate counts it longer."""

PermitId: TypeAlias = tuple[SagaId, StepPath, int]


@dataclass(frozen=True)
class Permit:
    """A row of table `permit`."""

    id: PermitId
    lane: Lane
    asked: Ask
    granted_at: datetime | None = None
    taken: bool = False
    forget_at: datetime | None = None
    """Set when it went back."""

    @property
    def waits(self) -> bool:
        """It is asked for, and neither granted nor withdrawn."""
        return self.granted_at is None and self.forget_at is None

    @property
    def held(self) -> bool:
        """Somebody is at work with it."""
        return self.granted_at is not None and self.forget_at is None

    def grant(self) -> Grant:
        """What its saga is told."""
        return Grant(*self.id)


def _period(ask: Ask) -> timedelta | None:
    return None if ask.rate_per_s is None else timedelta(seconds=ask.rate_per_s)


@dataclass
class MemoryPermits:
    """Table `permit`."""

    rows: dict[PermitId, Permit] = field(default_factory=dict[PermitId, Permit])

    def write(self, write: SagaWrite, now: datetime) -> None:
        """What a committed decision asks for, takes and gives back."""
        saga_id = write.identity.saga_id
        for ask in write.permits.asked:
            lane = Lane(ask.pool, write.identity.tenant, ask.key)
            key = (saga_id, ask.path, ask.ask)
            self.rows[key] = Permit(key, lane, ask)
        for step, number in write.permits.taken:
            self._change((saga_id, step, number), lambda row: replace(row, taken=True))
        for step, number in write.permits.returned:
            self._change((saga_id, step, number), lambda row: _returned(row, now))

    def _change(self, key: PermitId, change: Callable[[Permit], Permit]) -> None:
        if key in self.rows:
            self.rows[key] = change(self.rows[key])

    def waited_for(self) -> bool:
        """Whether somebody waits, or has not heard of a grant."""
        return any(row.waits or (row.held and not row.taken) for row in self.rows.values())

    def grant(
        self,
        after: Lane | None,
        *,
        lanes: int,
        limit: int,
        unheard: timedelta,
        now: datetime,
        runs: Callable[[SagaId], bool],
    ) -> Grants:
        """One look at the queues; `runs` says whether a saga may be granted anything."""
        for row in [r for r in self.rows.values() if r.forget_at is not None and r.forget_at < now]:
            del self.rows[row.id]
        looked = sorted({r.lane for r in self.rows.values() if r.waits}, key=_lane_order)
        looked = [
            lane for lane in looked if after is None or _lane_order(lane) > _lane_order(after)
        ]
        more, looked = len(looked) >= lanes, looked[:lanes]
        late = [r for r in self.rows.values() if r.held and not r.taken]
        late = [r for r in late if r.granted_at is not None and r.granted_at < now - unheard]
        used = [_Used(self, lane, now) for lane in looked]
        chosen = list(_chosen(used, limit, runs))
        for row in chosen:
            self.rows[row.id] = replace(row, granted_at=now)
        return Grants(
            now=now,
            granted=tuple(row.grant() for row in [*chosen, *late[:limit]]),
            next_at=min((u.next_at for u in used if u.next_at is not None), default=None),
            last=looked[-1] if more else None,
        )

    def return_strays(self, limit: int, now: datetime, lives: Callable[[SagaId], bool]) -> int:
        """Take back what sagas hold that have ended or are not there."""
        strays = [row for row in self.rows.values() if row.held and not lives(row.id[0])][:limit]
        for row in strays:
            self.rows[row.id] = replace(row, forget_at=now)
        return len(strays)


def _returned(row: Permit, now: datetime) -> Permit:
    until, period = now + KEPT, _period(row.asked)
    if row.granted_at is not None and period is not None:
        until = max(until, row.granted_at + period)
    return replace(row, forget_at=until)


def _lane_order(lane: Lane) -> tuple[str, str, str]:
    return lane.pool, lane.tenant, lane.key


class _Used:
    """A lane, the limits that its oldest request says, and what of them is used."""

    def __init__(self, permits: MemoryPermits, lane: Lane, now: datetime) -> None:
        rows = permits.rows.values()
        mine = [row for row in rows if row.lane == lane]
        granted = sorted(r.granted_at for r in mine if r.granted_at is not None)
        self.lane = lane
        self.waiting = sorted(
            (row for row in mine if row.waits), key=lambda row: (row.asked.since, row.id)
        )
        head = self.waiting[0].asked
        self.held = sum(row.held for row in mine)
        self.served_at = granted[-1] if granted else None
        self.places: int | None = None
        """Free over all lanes of the pool; None: no total holds."""
        frees: list[int] = []
        if head.concurrency is not None:
            frees.append(head.concurrency - self.held)
        if head.total is not None:
            self.places = head.total - sum(r.held for r in rows if r.lane.pool == lane.pool)
            frees.append(self.places)
        self.next_at: datetime | None = None
        period = _period(head)
        if period is not None and head.rate_count is not None:
            lately = [at for at in granted if at > now - period]
            frees.append(head.rate_count - len(lately))
            if len(lately) >= head.rate_count:
                self.next_at = lately[0] + period
        self.free = max(0, min(frees))


def _chosen(used: Iterable[_Used], limit: int, runs: Callable[[SagaId], bool]) -> Iterator[Permit]:
    """Who comes next: in turn within a pool, as long as there are places."""
    placed: list[tuple[int, Permit]] = []
    for _, lanes in groupby(used, key=lambda u: u.lane.pool):
        candidates = [
            ((u.held + nth, u.served_at is not None, u.served_at or _EVER, row.asked.since), u, row)
            for u in lanes
            for nth, row in enumerate(_running(u, runs)[: min(u.free, limit)], 1)
        ]
        candidates.sort(key=lambda candidate: (candidate[0], candidate[2].id))
        for place, (_, u, row) in enumerate(candidates, 1):
            if u.places is None or place <= u.places:
                placed.append((place, row))
    placed.sort(key=lambda pair: pair[0])
    yield from (row for _, row in placed[:limit])


def _running(used: _Used, runs: Callable[[SagaId], bool]) -> list[Permit]:
    return [row for row in used.waiting if runs(row.id[0])]


_EVER: Final = datetime.min.replace(tzinfo=UTC)
