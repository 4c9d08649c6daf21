"""Cron expressions of five fields: which times they name in a time zone. Pure.

minute hour day-of-month month day-of-week, each `*`, a number, a range `1-5`, a list `1,3,5`, or a
step `*/10`, `1-30/5`; months and weekdays also by their English names (`jan`, `mon`), Sunday is 0
or 7. As in every cron: where both days are restricted, one that fits is enough.

What clocks do once a year: of a time that comes twice the first counts, and one that is left out
means the moment after. An expression of every hour goes by what the clock shows, and neither leaves
an hour out nor runs one twice as long.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

DAYS_MAX: Final = 9 * 366
"""A day that exists comes at least every eight years (29 February around 2100)."""
HOURS: Final = 24
_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_WEEKDAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


class CronError(ValueError):
    """Not a cron expression of five fields; the message names the field and what is wrong in it."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first: int = 0
    """The number of the first name."""


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, tuple(_MONTHS), 1),
    _Field("day of week", 0, 7, tuple(_WEEKDAYS)),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    any_day: bool
    """The day of the month is `*`."""
    any_weekday: bool

    def names(self, day: date) -> bool:
        """Whether this day is one of its days."""
        if day.month not in self.months:
            return False
        weekday = day.isoweekday() % 7 in self.weekdays
        in_month = day.day in self.days
        return weekday and in_month if self.any_day or self.any_weekday else weekday or in_month

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first time later than `moment`, in UTC; None if there is none."""
        return next(self.forward(moment, zone), None)

    def forward(self, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
        """All times later than `moment`, in order, in UTC."""
        for day in self._days(moment, zone, 1):
            yield from (at for at in self._times(day, zone) if at > moment)

    def backward(self, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
        """All times not later than `moment`, latest first, in UTC."""
        for day in self._days(moment, zone, -1):
            yield from (at for at in reversed(self._times(day, zone)) if at <= moment)

    def _days(self, moment: datetime, zone: tzinfo, step: int) -> Iterator[date]:
        """Its days from about `moment` on, as long as they come."""
        day = moment.astimezone(zone).date() - timedelta(days=step)
        passed = 0
        while passed < DAYS_MAX:
            passed += 1
            if self.names(day):
                passed = 0
                yield day
            day += timedelta(days=step)

    def _times(self, day: date, zone: tzinfo) -> list[datetime]:
        """Its times on one of its days, in order."""
        found: set[datetime] = set()
        every_hour = len(self.hours) == HOURS
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime.combine(day, time(hour, minute), zone)
                first = local.astimezone(UTC)
                if not every_hour:
                    found.add(first)
                    continue
                both = {first, local.replace(fold=1).astimezone(UTC)}
                found |= {at for at in both if _clock(at, zone) == local.replace(tzinfo=None)}
        return sorted(found)


def _clock(at: datetime, zone: tzinfo) -> datetime:
    """What the clock on the wall shows."""
    return at.astimezone(zone).replace(tzinfo=None)


def parse(text: str) -> Cron:
    """The expression; CronError for anything else, and for one that names no day that exists."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        wanted = "minute hour day-of-month month day-of-week"
        raise CronError(f"{len(parts)} fields, and five are wanted: {wanted}")
    minutes, hours, days, months, weekdays = (
        _numbers(part.lower(), field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    cron = Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(n % 7 for n in weekdays),
        any_day=parts[2].startswith("*"),
        any_weekday=parts[4].startswith("*"),
    )
    if cron.after(datetime(2000, 1, 1, tzinfo=UTC), UTC) is None:
        raise CronError("no month has such a day")
    return cron


def _numbers(text: str, field: _Field) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        low, high = _span(span, field, stepped=bool(slash))
        found.update(range(low, high + 1, _step(step, field) if slash else 1))
    return found


def _span(text: str, field: _Field, *, stepped: bool) -> tuple[int, int]:
    if text == "*":
        return field.low, field.high
    first, dash, last = text.partition("-")
    low = _number(first, field)
    if not dash:
        if stepped:
            raise CronError(f"{field.name}: {text}/… steps from nowhere to nowhere; write a range")
        return low, low
    high = _number(last, field)
    if high < low:
        raise CronError(f"{field.name}: {text} ends before it begins")
    return low, high


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    if not (text.isascii() and text.isdigit()) or not field.low <= int(text) <= field.high:
        raise CronError(f"{field.name}: {text!r} is not a number from {field.low} to {field.high}")
    return int(text)


def _step(text: str, field: _Field) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= field.high:
        raise CronError(f"{field.name}: {text!r} is no step from 1 to {field.high}")
    return int(text)
