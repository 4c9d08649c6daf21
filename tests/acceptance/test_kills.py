"""SIGKILL, in the middle of everything: each process in turn, under load, and the servers too."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from acceptance.world import ALL_ONCE, NOTHING, World, running_world

pytestmark = [pytest.mark.servers, pytest.mark.slow]

KINDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "completed"),
    ({"to": "Oslo", "nights": 1}, "completed"),
    ({"to": "Venice"}, "compensated"),
    ({"to": "Nowhere"}, "compensated"),
    ({"traveller": "broke"}, "compensated"),
)
"""Inputs that end in a known way; Oslo has 40 seats and rooms."""

BROKER_SAVES_S = 7.0
"""RabbitMQ 3.10 writes down every 5 s which quorum queues it has. One declared later than that
before a SIGKILL is listed afterwards and never answers: not what this test is about."""


def trips(n: int, *, oslo_max: int = 8) -> list[tuple[dict[str, Any], str]]:
    """A mixture of trips with their ends, the same at every run."""
    chosen: list[tuple[dict[str, Any], str]] = []
    oslo = 0
    for _ in range(n):
        changes, end = random.Random(len(chosen)).choice(KINDS)
        if changes.get("to") == "Oslo":
            oslo += 1
            if oslo > oslo_max:
                changes = {}
        chosen.append((changes, end))
    return chosen


def check(world: World, wanted: list[tuple[dict[str, Any], str]], saga_ids: list[str]) -> None:
    """All ended as they must, and the services hold exactly that."""
    ends = world.ends_of(saga_ids)
    assert [ends[saga_id] for saga_id in saga_ids] == [end for _, end in wanted]
    assert world.broken() == []
    held = world.held_by_all(saga_ids)
    assert [held[saga_id] for saga_id in saga_ids] == [
        ALL_ONCE if end == "completed" else NOTHING for _, end in wanted
    ]


@pytest.mark.parametrize("victim", ["flights", "hotels", "payments", "mail", "orchestrator"])
def test_a_process_killed_in_the_middle_changes_no_end(world: World, victim: str) -> None:
    """Twice in a row, while its commands are under way; it starts again and all goes on."""
    wanted = trips(20, oslo_max=2)
    first, rest = wanted[:10], wanted[10:]

    started = world.start_many([changes for changes, _ in first])
    world.kill(victim)
    started += world.start_many([changes for changes, _ in rest])
    world.kill(victim)

    check(world, wanted, started)


def test_two_orchestrators_one_killed_under_load(own_folder: Path) -> None:
    """200 in flight: all end, every effect once, every undo once, by the services' tables."""
    wanted = trips(200)
    with running_world(own_folder, orchestrators=2) as world:
        started = world.start_many([changes for changes, _ in wanted[:150]])
        world.kill("orchestrator-2")
        started += world.start_many([changes for changes, _ in wanted[150:]])

        check(world, wanted, started)

        assert Counter(end for _, end in wanted).keys() == {"completed", "compensated"}


def test_broker_killed_and_database_restarted_under_load(own_folder: Path) -> None:
    """The servers go away and come back: sagas wait, and end as if nothing had happened."""
    wanted = trips(60)
    with running_world(own_folder) as world:
        time.sleep(BROKER_SAVES_S)
        started = world.start_many([changes for changes, _ in wanted[:30]])
        world.crash(world.machine.broker)
        started += world.start_many([changes for changes, _ in wanted[30:]])
        world.crash(world.machine.database)

        check(world, wanted, started)
