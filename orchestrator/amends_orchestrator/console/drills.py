"""The pages of drills: what was drilled and how recently, and one run as a matrix of its cells.

They show the record and change nothing; a drill is run from a command line. The record belongs to
definitions, which all tenants share, so whoever may look at the console sees the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from amends_contracts.messages import Json
from amends_orchestrator.api.drill_ports import DrillProof, DrillRun
from amends_orchestrator.api.services import Services
from amends_orchestrator.console.looks import Look, drill_look, verdict_look
from amends_orchestrator.console.present import trace_page
from amends_orchestrator.console.render import Render
from amends_orchestrator.console.session import Sessions
from amends_orchestrator.drills.matrix import KINDS, Fault
from amends_orchestrator.drills.reports import age, faults_of, share, steps_of
from amends_orchestrator.drills.results import Verdict

PAGE: Final = 50
WHOLE: Final = "the whole saga"
FIRST: Final[Mapping[str, int]] = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}
"""What is shown first below the matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoLine:
    """The undo of one step, and how long ago it was seen to succeed."""

    step: str
    said: str
    """Empty: never."""
    times: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run in numbers."""

    run_id: str
    definition: str
    version: int
    against: str
    look: Look
    tried: int
    of: int
    passed: int
    failed: int
    inconclusive: int
    coverage: float
    held: tuple[str, ...]
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPanel:
    """One cell with all that is known of it."""

    anchor: str
    name: str
    verdict: str
    look: Look
    findings: tuple[tuple[str, str], ...]
    """What is wrong, and what to do."""
    why: str
    facts: tuple[tuple[str, str], ...]
    held: tuple[str, ...]
    history: str
    saga_id: str
    trace_id: str
    trace_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Steps by faults; None where a fault does not apply, or was not tried."""

    columns: tuple[tuple[str, str], ...]
    """A few letters, and what they stand for."""
    rows: tuple[tuple[str, tuple[CellPanel | None, ...]], ...]


class DrillPages:
    """The pages, as a part of the console."""

    def __init__(self, services: Services, sessions: Sessions, page: Render) -> None:
        self._services = services
        self._sessions = sessions
        self._page = page

    def routes(self) -> list[Route]:
        """Where they are, below the console's own path."""
        return [Route("/drills", self.list_page), Route("/drills/{run_id}", self.run_page)]

    async def list_page(self, request: Request) -> Response:
        """What was drilled: of each definition the newest run, and its undos."""
        caller = await self._sessions.caller(request)
        drills = self._services.drills
        runs = await drills.newest_runs(PAGE + 1)
        proofs = await drills.proofs()
        drilled = [
            (run_line(run), [undo_line(p) for p in proofs if p.definition == run.definition])
            for run in runs[:PAGE]
        ]
        context = {"drilled": drilled, "more": len(runs) > PAGE, "page": PAGE}
        return self._page(request, "drills.html", caller, **context)

    async def run_page(self, request: Request) -> Response:
        """One run as a matrix, with what each of its cells came to."""
        caller = await self._sessions.caller(request)
        drills = self._services.drills
        run = await drills.run(_run_id(request))
        if run is None:
            raise HTTPException(404)
        raw = [cast("dict[str, Any]", cell) for cell in await drills.cells(run.id)]
        cells = [
            cell_panel(number, cell, self._services.trace_url) for number, cell in enumerate(raw)
        ]
        return self._page(
            request,
            "drill.html",
            caller,
            run=run_line(run),
            matrix=matrix(raw, cells),
            cells=sorted(cells, key=lambda cell: FIRST.get(cell.verdict, 0)),
            undos=tuple(undos(raw, await drills.proofs(run.definition))),
            others=[run_line(r) for r in await drills.runs(run.definition) if r.id != run.id],
        )


def _run_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["run_id"])
    except ValueError:
        raise HTTPException(404) from None


def run_line(run: DrillRun) -> RunLine:
    """A run in numbers. One that is not over is measured by all that it is to try."""
    tried = run.passed + run.failed + run.inconclusive
    of = max(run.cells, tried) if run.ended_at is None else tried
    return RunLine(
        run_id=str(run.id),
        definition=run.definition,
        version=run.version,
        against=run.against,
        look=drill_look(
            over=run.ended_at is not None,
            wrong=bool(run.failed or run.held),
            proven=0 < of == run.passed,
        ),
        tried=tried,
        of=of,
        passed=run.passed,
        failed=run.failed,
        inconclusive=run.inconclusive,
        coverage=share(run.passed, of),
        held=tuple(run.held),
        began_at=run.began_at,
    )


def undo_line(proof: DrillProof) -> UndoLine:
    """An undo that was proven."""
    return UndoLine(step=proof.step, said=age(proof.age_s), times=proof.times)


def undos(cells: Iterable[Mapping[str, Any]], proofs: Iterable[DrillProof]) -> Iterator[UndoLine]:
    """Every undo that was proven at some time; then those that this run only attempted."""
    proven = [undo_line(proof) for proof in proofs]
    yield from proven
    known = {undo.step for undo in proven}
    attempted = {step for cell in cells for step in cell["undos"]["attempted"]}
    yield from (UndoLine(step=step, said="") for step in sorted(attempted - known))


def matrix(raw: Sequence[Mapping[str, Any]], cells: Sequence[CellPanel]) -> Matrix:
    """The cells by step and fault."""
    at = {(r["step"], r["fault"]): cell for r, cell in zip(raw, cells, strict=True)}
    faults: Sequence[Fault] = faults_of(raw)
    return Matrix(
        columns=tuple((KINDS[fault].column, KINDS[fault].title) for fault in faults),
        rows=tuple(
            (step, tuple(at.get((step, fault.value)) for fault in faults)) for step in steps_of(raw)
        ),
    )


def cell_panel(number: int, cell: Mapping[str, Any], trace_url: str | None) -> CellPanel:
    """A cell as it is recorded, for reading."""
    return CellPanel(
        anchor=f"cell-{number}",
        name=f"{cell['step'] or WHOLE}: {cell['title']}",
        verdict=cell["verdict"],
        look=verdict_look(cell["verdict"]),
        findings=tuple((finding["what"], finding["fix"]) for finding in cell["findings"]),
        why=cell["why"],
        facts=tuple(_facts(cell)),
        held=tuple(cell["held"]),
        history="\n".join(f"{line['at_s']:8.3f} s  {line['text']}" for line in cell["history"]),
        saga_id=cell["saga_id"] or "",
        trace_id=cell["trace_id"] or "",
        trace_url=trace_page(trace_url, cell["trace_id"]),
    )


_TIMES: Final = {
    "took_s": "took",
    "detected_s": "noticed after",
    "stopped_s": "nothing new after",
    "consistent_s": "consistent after",
}


def _facts(cell: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for member, word in _TIMES.items():
        if cell[member] is not None:
            yield word, f"{cell[member]} s"
    for word, steps in cast("dict[str, list[str]]", cell["undos"]).items():
        if steps:
            yield f"undos {word}", ", ".join(steps)
