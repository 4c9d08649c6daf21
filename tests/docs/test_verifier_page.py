"""docs/verifier.md is the verifier: each rule with an example and what is said of it."""

import os
import re
from collections.abc import Iterator
from itertools import groupby

from amends_contracts.problems import FieldError
from core.refusals import HEAD, KNOWN, Refusal, refusals
from docs.blocks import ROOT

PAGE = ROOT / "docs" / "verifier.md"
MADE = re.compile(r"(<!-- rules: begin[^\n]*-->\n).*?(<!-- rules: end -->)", re.DOTALL)


def rules() -> Iterator[str]:
    """The part of the page that is made from the examples."""
    for section, found in groupby(refusals(), key=lambda refusal: refusal.section):
        yield f"\n## {section}\n"
        for refusal in found:
            yield from entry(refusal)


def entry(refusal: Refusal) -> Iterator[str]:
    """One rule."""
    yield f"**{refusal.rule}**\n"
    yield f"```yaml\n{refusal.document}```\n"
    yield from (said(error) for error in refusal.errors)
    yield ""


def said(error: FieldError) -> str:
    """As a line of a list: where, what, what to do."""
    return f"- `{error.path}`: {error.reason}. → {error.remedy}"


def test_the_rules_on_the_page_are_the_verifier_s() -> None:
    """Made from the examples that hold the verifier; `AMENDS_WRITE_DOCS=1` writes it."""
    page = PAGE.read_text()
    made = "\n".join(rules())
    wanted = MADE.sub(lambda match: f"{match[1]}{made}\n{match[2]}", page)
    if os.environ.get("AMENDS_WRITE_DOCS"):
        PAGE.write_text(wanted)
    assert page == wanted


def test_the_page_says_what_the_examples_leave_out() -> None:
    """Their head and the commands that are known stand on the page."""
    page = PAGE.read_text()
    assert HEAD in page
    assert [name for name in KNOWN if f"| `{name}` |" not in page] == []
