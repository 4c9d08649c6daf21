"""The verifier refuses every example of `refusals.yaml`, in these words, and no rule is without."""

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from amends_orchestrator import core
from amends_orchestrator.core import verify
from core.dsl import EXPRESSIONS
from core.refusals import KNOWN, Refusal, refusals

SOURCES = sorted(Path(core.__file__).parent.glob("verify*.py"))
SAYS = frozenset({"FieldError", "_error"})
UNREACHED = ("{at}/items",)
"""More than 1,000 items would fill the page; `test_verify_loops` has them."""


@pytest.mark.parametrize("refusal", [pytest.param(r, id=r.rule) for r in refusals()])
def test_what_cannot_work_is_refused(refusal: Refusal) -> None:
    """With the place, the reason, and what to do about it, and nothing else."""
    assert verify(refusal.definition, KNOWN, EXPRESSIONS) == refusal.errors


def test_every_refusal_says_what_to_do() -> None:
    """None leaves the reader alone."""
    assert [r.rule for r in refusals() if not all(e.remedy for e in r.errors)] == []


def test_every_rule_has_an_example() -> None:
    """No line of the verifier that refuses is passed by, when all examples are tried."""
    ran = lines_run_by_all()
    missed = [
        f"{source.name}:{line}: add an example to tests/core/refusals.yaml"
        for source in SOURCES
        for line in refusing_lines(source)
        if (str(source), line) not in ran
    ]
    assert missed == []


def refusing_lines(source: Path) -> list[int]:
    """Where a file yields or returns an error."""
    text = source.read_text()
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Yield | ast.Return)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id in SAYS
        and not any(word in ast.unparse(node) for word in UNREACHED)
    ]


def lines_run_by_all() -> set[tuple[str, int]]:
    """Lines of the verifier that ran for some example."""
    names = {str(source) for source in SOURCES}
    ran: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in names:
            return None
        ran.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for refusal in refusals():
            verify(refusal.definition, KNOWN, EXPRESSIONS)
    finally:
        sys.settrace(before)
    return ran
