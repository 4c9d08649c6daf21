"""A drill as others read it: JSON, JUnit XML for a CI, HTML for people. Pure.

All are made of one JSON object, for cells of a run that was interrupted come from the record.
"""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from amends_orchestrator.drills.matrix import KINDS, Fault
from amends_orchestrator.drills.results import Verdict

Report = Mapping[str, Any]
CellJson = Mapping[str, Any]
DAY_S: Final = 86_400
_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("amends_orchestrator.drills"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def report(
    *,
    definition: str,
    version: int,
    against: str,
    run_id: str,
    began_at: str,
    seconds: float,
    cells: Sequence[CellJson],
    held: Sequence[str],
    proofs: Sequence[Mapping[str, Any]] = (),
) -> Report:
    """The whole of a run, as `--json` prints it."""
    count = Counter(cell["verdict"] for cell in cells)
    return {
        "definition": definition,
        "version": version,
        "against": against,
        "run_id": run_id,
        "began_at": began_at,
        "seconds": round(seconds, 1),
        **{verdict.value: count[verdict.value] for verdict in Verdict},
        "coverage": coverage(cells),
        "held": list(held),
        "proofs": list(proofs),
        "cells": list(cells),
    }


def brief(whole: Report) -> Report:
    """What fits on a line."""
    left_out = {"cells", "proofs", "run_id", "began_at"}
    short = {name: value for name, value in whole.items() if name not in left_out}
    return {"ok": is_ok(whole), **short}


def is_ok(whole: Report) -> bool:
    """Nothing failed, and nothing is left in the drilled system."""
    return not whole[Verdict.FAIL.value] and not whole["held"]


def coverage(cells: Sequence[CellJson]) -> float:
    """The share of cells that passed, in percent."""
    passed = sum(cell["verdict"] == Verdict.PASS.value for cell in cells)
    return share(passed, len(cells))


def share(passed: int, of: int) -> float:
    """In percent, as coverage is said everywhere; 0 of nothing."""
    return round(100 * passed / of, 1) if of else 0.0


def age(seconds: float) -> str:
    """How long ago an undo was proven, in words."""
    days = int(seconds // DAY_S)
    return "today" if days == 0 else f"{days} day{'s' if days > 1 else ''} ago"


def steps_of(cells: Iterable[CellJson]) -> list[str]:
    """The rows of the matrix; the calm cell is in none."""
    return list(dict.fromkeys(cell["step"] for cell in cells if cell["step"]))


def faults_of(cells: Iterable[CellJson]) -> list[Fault]:
    """The columns of the matrix."""
    there = {cell["fault"] for cell in cells if cell["step"]}
    return [fault for fault in KINDS if fault.value in there]


def junit(whole: Report) -> str:
    """One test suite, one test case a cell; an inconclusive one is skipped."""
    suite = ET.Element(
        "testsuite",
        name=f"amends drill {whole['definition']}",
        tests=str(len(whole["cells"])),
        failures=str(whole[Verdict.FAIL.value]),
        skipped=str(whole[Verdict.INCONCLUSIVE.value]),
        errors="0",
        time=str(whole["seconds"]),
        timestamp=whole["began_at"],
    )
    for cell in whole["cells"]:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"{whole['definition']}.{cell['step'] or 'saga'}",
            name=cell["title"],
            time=str(cell["took_s"]),
        )
        _outcome(case, cell)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _outcome(case: ET.Element, cell: CellJson) -> None:
    if cell["verdict"] == Verdict.FAIL.value:
        first = cell["findings"][0]["what"]
        failure = ET.SubElement(case, "failure", message=first)
        said = [f"{f['what']}\n  fix: {f['fix']}" for f in cell["findings"]]
        said += [f"{line['at_s']:7.3f} s  {line['text']}" for line in cell["history"]]
        failure.text = "\n".join(said)
    elif cell["verdict"] == Verdict.INCONCLUSIVE.value:
        ET.SubElement(case, "skipped", message=cell["why"])


def html(whole: Report) -> str:
    """One page that needs nothing else: no script, no style sheet, no picture from elsewhere."""
    by_place = {(cell["step"], cell["fault"]): cell for cell in whole["cells"]}
    return _ENVIRONMENT.get_template("report.html").render(
        report=whole,
        ok=is_ok(whole),
        steps=steps_of(whole["cells"]),
        faults=[(fault.value, KINDS[fault]) for fault in faults_of(whole["cells"])],
        cell_at=by_place,
        slowest=_slowest(whole["cells"]),
        failed=[cell for cell in whole["cells"] if cell["verdict"] == Verdict.FAIL.value],
        open=[cell for cell in whole["cells"] if cell["verdict"] == Verdict.INCONCLUSIVE.value],
    )


def _slowest(cells: Sequence[CellJson]) -> float | None:
    """The longest that the system was inconsistent."""
    return max((c["consistent_s"] for c in cells if c["consistent_s"] is not None), default=None)
