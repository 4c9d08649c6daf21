"""What a CI and a manager read."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

from amends_contracts.names import StepPath
from amends_orchestrator.drills import reports
from amends_orchestrator.drills.matrix import Cell, Fault
from amends_orchestrator.drills.results import Finding, Line, Result, Verdict

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def result(fault: Fault, verdict: Verdict, **more: object) -> Result:
    """One cell."""
    cell = Cell(StepPath("flight"), fault)
    given: dict[str, object] = {"cell": cell, "verdict": verdict, "at": AT, "took_s": 0.5} | more
    return Result(**given)  # type: ignore[arg-type]  # as the cases below write them


RESULTS = (
    result(Fault.CANCELLED, Verdict.PASS),
    result(
        Fault.REPLY_LOST,
        Verdict.FAIL,
        findings=(Finding("a <seat> is held", "free it", StepPath("flight")),),
        story=(Line(0.25, "flight action 1 →"),),
    ),
    result(Fault.PARTICIPANT_KILLED, Verdict.INCONCLUSIVE, why="nobody follows orders"),
    result(Fault.UNDO_FIRST, Verdict.PASS),
)
WHOLE = reports.report(
    definition="book-trip",
    version=1,
    against="this process",
    run_id="r",
    began_at=AT.isoformat(),
    seconds=12.34,
    cells=[one.to_json() for one in RESULTS],
    held=(),
)


def test_coverage_is_what_passed_of_all() -> None:
    """An inconclusive cell has proven nothing."""
    assert (WHOLE["coverage"], WHOLE["pass"], WHOLE["fail"], WHOLE["inconclusive"]) == (
        50.0,
        2,
        1,
        1,
    )
    assert not reports.is_ok(WHOLE)


def test_a_brief_report_is_short_and_says_whether_all_is_well() -> None:
    """The last line of `make drill`."""
    assert reports.brief(WHOLE) == {
        "ok": False,
        "definition": "book-trip",
        "version": 1,
        "against": "this process",
        "seconds": 12.3,
        "pass": 2,
        "fail": 1,
        "inconclusive": 1,
        "coverage": 50.0,
        "held": [],
    }


def test_junit_has_a_case_for_each_cell() -> None:
    """A failure says what to do and what happened; what could not be judged is skipped."""
    suite = ET.fromstring(reports.junit(WHOLE))[0]
    said = {case.get("name"): [child.tag for child in case] for case in suite}
    assert suite.get("failures") == suite.get("skipped") == "1"
    assert sorted(tags for tags in said.values()) == [[], [], ["failure"], ["skipped"]]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "a <seat> is held"
    assert failure.text == "a <seat> is held\n  fix: free it\n  0.250 s  flight action 1 →"


def test_the_page_stands_alone() -> None:
    """No script, nothing from elsewhere; what participants say cannot become markup."""
    page = reports.html(WHOLE)
    assert "a &lt;seat&gt; is held" in page
    assert "1 of 4 failures that were tried leave something wrong" in page
    assert "nobody follows orders" in page
    assert "<script" not in page
    assert "http" not in page
