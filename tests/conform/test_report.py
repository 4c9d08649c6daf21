"""What a run found, written down; and the rules that it names are the page's own words."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from amends_orchestrator.conform import rules
from amends_orchestrator.conform.checks import CHECKS
from amends_orchestrator.conform.report import Report, Result, Verdict, to_badge, to_junit, worst

WIRE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
ROW = rules.ROW_TOMBSTONE
GOOD = Result("undo", "it is undone", "till.charge", Verdict.PASS, ROW)
BAD = Result("race", "both at once", "till.charge", Verdict.FAIL, ROW, 'it said "no" & <left>')
OPEN = Result("probe", "a probe", None, Verdict.SKIPPED, ROW, "not offered")


@pytest.mark.parametrize("rule", rules.ALL, ids=lambda rule: rule.says[:40])
def test_a_rule_is_what_the_page_says(rule: rules.Rule) -> None:
    """Word for word, in a section that is there."""
    headings = re.findall(r"^#+ (.+)$", WIRE, re.MULTILINE)
    assert rule.says in WIRE
    assert rule.section in {heading.lower().replace(" ", "-") for heading in headings}


def test_a_check_has_one_name_and_a_title() -> None:
    """Names are for --only and for CI."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert [check.name for check in CHECKS if len(check.title.split()) < 2] == []


def test_junit_counts_and_explains() -> None:
    """A failure says what was seen and what the rule is; what stands is a failure, too."""
    report = Report("till", (GOOD, BAD, OPEN), left=("key: it stands",))
    suite = ET.fromstring(to_junit(report))
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped")}
    assert counts == {"tests": "4", "failures": "2", "skipped": "1"}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == BAD.why
    assert failure.text == f"{ROW.at} says: {ROW.says}"
    skipped = suite.find("testcase/skipped")
    assert skipped is not None
    assert skipped.get("message") == "not offered"


@pytest.mark.parametrize(
    ("results", "title"),
    [
        ((GOOD, OPEN), "till: amends wire 1, 1 of 1 checks"),
        ((GOOD, BAD), "till: amends wire 1, 1 of 2 ✘ checks"),
    ],
)
def test_the_badge_says_how_many(results: tuple[Result, ...], title: str) -> None:
    """For eyes and for readers of titles."""
    badge = ET.fromstring(to_badge(Report("till", results)))
    assert badge.findtext("{http://www.w3.org/2000/svg}title") == title


def test_once_bad_is_bad() -> None:
    """Of several runs a check has failed that failed in any."""
    race = Result("race", "both at once", "till.charge", Verdict.PASS, ROW)
    joined = worst([Report("till", (GOOD, race)), Report("till", (GOOD, BAD))])
    assert [result.verdict for result in joined.results] == [Verdict.PASS, Verdict.FAIL]
    assert joined.results[1].why == f"in 1 of 2 runs: {BAD.why}"
