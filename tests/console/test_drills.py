"""The pages of drills: what is on record is what they show, and they say what is not."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.api.ports import Scope
from amends_orchestrator.console.drills import cell_panel, matrix, run_line, undos
from amends_orchestrator.drills.matrix import Cell, Fault
from amends_orchestrator.drills.results import Finding, Line, Result, Undos, Verdict
from amends_orchestrator.store.drills import Proof, RunRow
from api.fakes import BEGAN, World, app_of, client_of, key_for

FLIGHT, CAR = StepPath("flight"), StepPath("car")
CALM = Result(
    cell=Cell(StepPath(""), Fault.CALM),
    verdict=Verdict.PASS,
    at=BEGAN,
    took_s=0.5,
    undos=Undos(attempted=frozenset({FLIGHT})),
)
LATE = Result(
    cell=Cell(FLIGHT, Fault.SUCCEEDS_LATE),
    verdict=Verdict.FAIL,
    at=BEGAN,
    took_s=1.25,
    findings=(Finding("a seat is <b>held</b>", "look at flights.release", FLIGHT),),
    saga_id="0197-saga",
    trace_id="ab" * 16,
    consistent_s=0.75,
    undos=Undos(attempted=frozenset({FLIGHT, CAR}), succeeded=frozenset({FLIGHT})),
    held=("flight at flights",),
    story=(Line(0.015, "flight action 1 →"), Line(0.75, "flight compensation 1 ← succeeded")),
)
KILLED = Result(
    cell=Cell(CAR, Fault.PARTICIPANT_KILLED),
    verdict=Verdict.INCONCLUSIVE,
    at=BEGAN,
    took_s=0.0,
    why="cars takes no orders",
)
CELLS = [result.to_json() for result in (CALM, LATE, KILLED)]


def run_of(n: int, definition: str = "book-trip", **more: Any) -> RunRow:
    """A run with the three cells above."""
    about: dict[str, Any] = {
        "version": n,
        "against": "amqp://broker",
        "status": "over",
        "cells": 3,
        "passed": 1,
        "failed": 1,
        "inconclusive": 1,
        "held": (),
        "began_at": BEGAN + timedelta(days=n),
        "ended_at": BEGAN + timedelta(days=n, minutes=1),
    }
    return RunRow(id=UUID(int=n), definition=definition, **about | more)


def proof(step: str, days: int, definition: str = "book-trip") -> Proof:
    """An undo that was proven so many days ago."""
    age_s = days * 86_400.0
    return Proof(definition=definition, step=step, at=BEGAN, times=3, age_s=age_s)


def keep(world: World, run: RunRow, cells: Sequence[Json] = CELLS) -> str:
    """Put a run on record; the address of its page."""
    world.drills.kept[run.id] = (run, cells)
    return f"/console/drills/{run.id}"


async def page(world: World, path: str, key: str | None = None, **options: Any) -> httpx.Response:
    """What the console answers."""
    async with client_of(app_of(world, **options)) as client:
        if key is not None:
            ours = {"Origin": "http://localhost"}
            await client.post("/console/login", data={"key": key}, headers=ours)
        return await client.get(path)


async def test_without_a_drill_the_page_says_how_to_drill(world: World) -> None:
    """With the command, and where the record of a folder is."""
    html = (await page(world, "/console/drills")).text
    assert "Nothing was drilled here yet" in html
    assert "amends drill book-trip" in html
    assert "amends drill history" in html


async def test_each_definition_has_its_newest_run_and_its_proofs(world: World) -> None:
    """Older runs are not in the list; another definition's undos are under its own name."""
    newest = keep(world, run_of(3, held=("a seat",)))
    older = keep(world, run_of(2))
    other = keep(world, run_of(1, "refund", passed=3, failed=0, inconclusive=0))
    world.drills.proven += [proof("flight", 2), proof("pay", 0, "refund")]
    html = (await page(world, "/console/drills")).text
    assert newest in html
    assert older not in html
    trip, refund = html.split(other)
    assert "undo of <b>flight</b>: last proven 2 days ago" in trip
    assert "33.3 %" in trip
    assert "1 still held" in trip
    assert "something is wrong" in trip
    assert "undo of <b>pay</b>: last proven today" in refund
    assert "100.0 %" in refund
    assert "all undone" in refund


async def test_a_run_shows_each_cell_with_its_why_and_history(world: World) -> None:
    """What is wrong stands first and open; what was written by others is text."""
    path = keep(world, run_of(3, held=("flight at flights",)))
    before = keep(world, run_of(2))
    options = {"trace_url": "https://traces/{trace_id}"}
    html = (await page(world, path, **options)).text
    assert "a seat is &lt;b&gt;held&lt;/b&gt;" in html
    assert "To do: look at flights.release" in html
    assert "   0.750 s  flight compensation 1 ← succeeded" in html
    assert "cars takes no orders" in html
    assert "Still held: flight at flights" in html
    assert f'href="https://traces/{"ab" * 16}"' in html
    assert "0197-saga" in html
    assert "/console/?definition=book-trip" in html
    assert before in html
    assert html.count('<details class="panel" open>') == 1
    assert html.index('id="cell-1"') < html.index('id="cell-2"') < html.index('id="cell-0"')


def test_the_matrix_has_steps_by_faults_and_leads_to_the_cells() -> None:
    """The calm cell is in none; where a fault was not tried there is nothing."""
    panels = [cell_panel(n, cell, None) for n, cell in enumerate(CELLS)]
    made = matrix(CELLS, panels)
    assert [short for short, _ in made.columns] == ["late", "killed"]
    assert made.rows == (("flight", (panels[1], None)), ("car", (None, panels[2])))
    assert [cell.name for cell in panels][:2] == [
        "the whole saga: nothing goes wrong; then all is undone",
        "flight: times out, then succeeds late",
    ]
    assert panels[1].facts == (
        ("took", "1.25 s"),
        ("consistent after", "0.75 s"),
        ("undos attempted", "car, flight"),
        ("undos succeeded", "flight"),
    )


def test_an_undo_that_was_attempted_and_never_proven_is_named() -> None:
    """After those that were."""
    found = [(u.step, u.said, u.times) for u in undos(CELLS, [proof("flight", 1)])]
    assert found == [("flight", "1 day ago", 3), ("car", "", 0)]


def test_a_run_that_is_not_over_is_measured_by_all_it_is_to_try() -> None:
    """Three of twelve are no whole matrix, and all that passed are no proof yet."""
    all_passed: dict[str, Any] = {"passed": 3, "failed": 0, "inconclusive": 0}
    over = run_line(run_of(1, **all_passed))
    begun = run_line(run_of(1, **all_passed, cells=12, status="running", ended_at=None))
    assert (over.coverage, over.look.word) == (100.0, "all undone")
    assert (begun.coverage, begun.look.word) == (25.0, "not over")
    assert (begun.tried, begun.of) == (3, 12)
    nothing = run_line(run_of(1, passed=0, failed=0, inconclusive=0))
    assert (nothing.coverage, nothing.look.word) == (0.0, "not all judged")


async def test_what_is_no_run_is_not_found(world: World) -> None:
    """An id that nobody has given, and what is no id."""
    for wrong in (str(UUID(int=9)), "nope"):
        assert (await page(world, f"/console/drills/{wrong}")).status_code == 404


async def test_with_keys_a_viewer_of_any_tenant_sees_drills_and_others_log_in(
    world: World,
) -> None:
    """Like definitions, their record is shared."""
    path = keep(world, run_of(1))
    key = key_for(world, Scope.VIEWER, "a")
    for one in ("/console/drills", path):
        assert (await page(world, one)).headers["location"].startswith("/console/login")
        shown = await page(world, one, key)
        assert shown.status_code == 200
        assert '<a href="/console/drills">Drills</a>' in shown.text
