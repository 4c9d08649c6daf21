"""What a run found, and how it is written down: JSON, JUnit XML, a badge. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from amends_orchestrator.conform.rules import Rule

SUITE: Final = "amends conform"


class Verdict(StrEnum):
    """Of one check."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One check, of one command or of the whole service."""

    check: str
    title: str
    command: str | None
    verdict: Verdict
    rule: Rule
    why: str = ""
    """What was seen, or why it could not be told; empty for PASS."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As it is under `--json`."""
        return {
            "check": self.check,
            "title": self.title,
            "command": self.command,
            "verdict": self.verdict.value,
            "why": self.why or None,
            "rule": {"says": self.rule.says, "at": self.rule.at},
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All results of a run, and what it could not take back."""

    service: str
    results: tuple[Result, ...]
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What a reader should know, such as by what effects were seen."""

    def count(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(result.verdict is verdict for result in self.results)

    @property
    def conforms(self) -> bool:
        """No check failed, and nothing stays."""
        return not self.count(Verdict.FAIL) and not self.left

    def to_json(self) -> dict[str, Any]:
        """As it is under `--json`."""
        return {
            "service": self.service,
            "conforms": self.conforms,
            **{verdict.value: self.count(verdict) for verdict in Verdict},
            "results": [result.to_json() for result in self.results],
            "left": list(self.left),
            "notes": list(self.notes),
        }


def worst(reports: Sequence[Report]) -> Report:
    """Of several runs of the same checks one report: a check that failed once has failed."""
    by_check: dict[tuple[str, str | None], list[Result]] = {}
    for report in reports:
        for result in report.results:
            by_check.setdefault((result.check, result.command), []).append(result)
    return Report(
        service=reports[0].service,
        results=tuple(_worst(results) for results in by_check.values()),
        left=tuple(left for report in reports for left in report.left),
        notes=reports[-1].notes,
    )


def _worst(results: Sequence[Result]) -> Result:
    failed = [result for result in results if result.verdict is Verdict.FAIL]
    if not failed or len(results) == 1:
        return failed[0] if failed else results[0]
    first = failed[0]
    why = f"in {len(failed)} of {len(results)} runs: {first.why}"
    return Result(
        first.check, first.title, first.command, first.verdict, first.rule, why, first.seconds
    )


def to_junit(report: Report) -> str:
    """JUnit XML: a case per check, its class the command."""
    cases = [_case(report.service, result) for result in report.results]
    failures = report.count(Verdict.FAIL) + bool(report.left)
    if report.left:
        said = escape("\n".join(report.left))
        name = f'<testcase classname={quoteattr(report.service)} name="nothing is left">'
        cases.append(f'{name}<failure message="effects stand">{said}</failure></testcase>')
    counts = f'tests="{len(cases)}" failures="{failures}" skipped="{report.count(Verdict.SKIPPED)}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuite name={quoteattr(f'{SUITE} {report.service}')} {counts}>",
        *(f"  {case}" for case in cases),
        "</testsuite>",
    ]
    return "\n".join(lines) + "\n"


def _case(service: str, result: Result) -> str:
    name = quoteattr(f"{result.check}: {result.title}")
    owner = quoteattr(result.command or service)
    opened = f'<testcase classname={owner} name={name} time="{result.seconds:.3f}"'
    match result.verdict:
        case Verdict.PASS:
            return f"{opened}/>"
        case Verdict.SKIPPED:
            return f"{opened}><skipped message={quoteattr(result.why)}/></testcase>"
        case Verdict.FAIL:
            rule = escape(f"{result.rule.at} says: {result.rule.says}")
            message = quoteattr(result.why)
            return f"{opened}><failure message={message}>{rule}</failure></testcase>"


def to_badge(report: Report) -> str:
    """A badge as SVG: what it is, and how many of the checks that could be made passed."""
    passed, failed = report.count(Verdict.PASS), report.count(Verdict.FAIL)
    said = f"{passed} of {passed + failed}" + ("" if report.conforms else " ✘")
    colour = "#2e7d32" if report.conforms else "#c62828"
    label = "amends wire 1"
    left, right = 8 + 7 * len(label), 14 + 7 * len(said)
    title = escape(f"{report.service}: {label}, {said} checks")
    text = 'text-anchor="middle" font-family="Verdana,sans-serif" font-size="11" fill="#fff"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img">\n'
        f"  <title>{title}</title>\n"
        f'  <rect width="{left + right}" height="20" rx="3" fill="#444"/>\n'
        f'  <path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{right - 3}z"'
        f' fill="{colour}"/>\n'
        f'  <g {text}>\n    <text x="{left / 2:g}" y="14">{label}</text>\n'
        f'    <text x="{left + right / 2:g}" y="14">{escape(said)}</text>\n  </g>\n</svg>\n'
    )
