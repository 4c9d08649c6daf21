"""`amends schedule`: what is asked of the service, and how its answers are shown."""

from cli.fake_service import FakeService
from cli.running import Amends

SHOWN = {
    "name": "nightly",
    "definition": "close-books",
    "version": 2,
    "cron": "30 2 * * *",
    "zone": "Europe/Zurich",
    "next_at": "2026-03-02T01:30:00Z",
    "last_at": None,
    "last_problem": None,
}


def test_a_schedule_is_added(amends: Amends, service: FakeService) -> None:
    """With its time zone, input and policy."""
    service.on("POST", "/v1/schedules", SHOWN, status=201)
    ran = amends(
        "schedule", "add", "nightly", "close-books@2", "--cron", "30 2 * * *",
        "--zone", "Europe/Zurich", "-i", "country=CH", "--catch-up", "all", "--catch-up-max", "7",
    )  # fmt: skip
    assert (ran.code, ran.out) == (0, "nightly starts next at 2026-03-02T01:30:00Z\n")
    assert service.asked[-1].body == {
        "name": "nightly",
        "definition": "close-books",
        "version": 2,
        "cron": "30 2 * * *",
        "zone": "Europe/Zurich",
        "input": {"country": "CH"},
        "labels": {},
        "catch_up": "all",
        "catch_up_max": 7,
    }


def test_schedules_are_listed(amends: Amends, service: FakeService) -> None:
    """One line each, with what comes next and what went wrong."""
    service.on("GET", "/v1/schedules", {"items": [SHOWN], "next": None})
    ran = amends("schedule", "list")
    assert ran.code == 0
    assert "close-books@2" in ran.out
    assert "never" in ran.out
    service.on("GET", "/v1/schedules", {"items": [], "next": None})
    assert amends("schedule", "list").out == "No schedules. `amends schedule add` makes one.\n"


def test_a_schedule_is_removed(amends: Amends, service: FakeService) -> None:
    """By name."""
    service.on("DELETE", "/v1/schedules/nightly", SHOWN)
    ran = amends("schedule", "remove", "nightly")
    assert (ran.code, ran.out) == (0, "removed nightly\n")
