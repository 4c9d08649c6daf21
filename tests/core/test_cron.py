"""Cron expressions: what they name, what they cannot say, and what the clocks do once a year."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amends_orchestrator.core.cron import Cron, CronError, parse

ZURICH = ZoneInfo("Europe/Zurich")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def shown(text: str, count: int, start: datetime = NEW_YEAR, zone: ZoneInfo = ZURICH) -> list[str]:
    """The next times, as the clock on the wall shows them."""
    cron, at = parse(text), start
    found: list[str] = []
    for _ in range(count):
        after = cron.after(at, zone)
        assert after is not None
        at = after
        found.append(at.astimezone(zone).strftime("%a %d %b %H:%M %Z"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["Thu 01 Jan 02:30 CET", "Fri 02 Jan 02:30 CET"]),
        ("*/20 9-10 * * mon-fri", ["Thu 01 Jan 09:00 CET", "Thu 01 Jan 09:20 CET"]),
        ("0 0 1 */6 *", ["Wed 01 Jul 00:00 CEST", "Fri 01 Jan 00:00 CET"]),
        ("0 12 13 * fri", ["Fri 02 Jan 12:00 CET", "Fri 09 Jan 12:00 CET"]),
        ("5,10 0 * feb 7", ["Sun 01 Feb 00:05 CET", "Sun 01 Feb 00:10 CET"]),
        ("0 0 29 2 *", ["Tue 29 Feb 00:00 CET", "Sun 29 Feb 00:00 CET"]),
    ],
)
def test_an_expression_names_its_times(text: str, expected: list[str]) -> None:
    """In the zone's own clock."""
    assert shown(text, 2) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("* * * *", "4 fields, and five are wanted: minute hour day-of-month month day-of-week"),
        ("60 * * * *", "minute: '60' is not a number from 0 to 59"),
        ("* 24 * * *", "hour: '24' is not a number from 0 to 23"),
        ("* * 0 * *", "day of month: '0' is not a number from 1 to 31"),
        ("* * * foo *", "month: 'foo' is not a number from 1 to 12"),
        ("* * * * 8", "day of week: '8' is not a number from 0 to 7"),
        ("*/0 * * * *", "minute: '0' is no step from 1 to 59"),
        ("5/10 * * * *", "minute: 5/… steps from nowhere to nowhere; write a range"),
        ("9-5 * * * *", "minute: 9-5 ends before it begins"),
        ("1,,2 * * * *", "minute: '' is not a number from 0 to 59"),
        ("٣ * * * *", "minute: '٣' is not a number from 0 to 59"),
        ("0 0 30 2 *", "no month has such a day"),
    ],
)
def test_what_is_none_is_refused_with_its_field(text: str, reason: str) -> None:
    """By place and reason."""
    with pytest.raises(CronError) as refused:
        parse(text)
    assert str(refused.value) == reason


def test_a_time_that_is_left_out_means_the_moment_after() -> None:
    """In the night when clocks go forward, 02:30 is 03:30."""
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert shown("30 2 * * *", 2, start) == ["Sun 29 Mar 03:30 CEST", "Mon 30 Mar 02:30 CEST"]


def test_a_time_that_comes_twice_counts_once() -> None:
    """In the night when clocks go back, the first 02:30."""
    start = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert shown("30 2 * * *", 2, start) == ["Sun 25 Oct 02:30 CEST", "Mon 26 Oct 02:30 CET"]


@pytest.mark.parametrize(
    "day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]
)
def test_what_runs_every_hour_runs_every_hour(day: datetime) -> None:
    """Whatever the clocks do that night."""
    cron = parse("0 * * * *")
    times = list(islice(cron.forward(day, ZURICH), 6))
    assert times == [day + timedelta(hours=n) for n in range(1, 7)]


NUMBERS = st.integers(0, 59)
ZONES = st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe"])


def of(low: int, high: int) -> st.SearchStrategy[str]:
    """A field: everything, a number, a range, or a step."""
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.tuples(st.one_of(st.just("*"), spans), st.integers(1, high)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    one = st.one_of(st.just("*"), number.map(str), spans, steps)
    return st.lists(one, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(of(0, 59), of(0, 23), of(1, 28), of(1, 12), of(0, 7)).map(" ".join)
MOMENTS = st.integers(0, 3 * 366 * 24 * 60 * 60).map(lambda s: NEW_YEAR + timedelta(seconds=s))


def fits(cron: Cron, at: datetime, zone: ZoneInfo) -> bool:
    """Whether the wall clock shows one of its times, looked at minute by minute."""
    local = at.astimezone(zone)
    return cron.names(local.date()) and local.hour in cron.hours and local.minute in cron.minutes


@settings(max_examples=60, deadline=None)
@given(text=EXPRESSIONS, start=MOMENTS, zone=ZONES)
def test_times_come_in_order_and_none_is_passed_by(text: str, start: datetime, zone: str) -> None:
    """Against a look at every minute, but for the hours in which clocks are changed."""
    cron, where = parse(text), ZoneInfo(zone)
    until = start + timedelta(hours=30)
    times = list(takewhile(lambda at: at <= until, cron.forward(start, where)))
    assert all(a < b for a, b in pairwise(times))
    back = list(takewhile(lambda at: at > start, cron.backward(until, where)))
    assert back == times[::-1]
    minute = start.replace(second=0, microsecond=0)
    minutes = [minute + timedelta(minutes=n) for n in range(1, 30 * 60)]
    offsets = {
        m.astimezone(where).utcoffset() for m in [start - timedelta(days=2), *minutes, until]
    }
    if len(offsets) == 1:
        assert [t for t in times if t < minutes[-1]] == [
            m for m in minutes[:-1] if fits(cron, m, where)
        ]
