"""Pages hang together: every link leads somewhere, every page is found, every problem explained."""

import re
from pathlib import Path

import pytest

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.problems import STATUS
from docs.blocks import ROOT

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(amends:[a-z-]+)` \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
PAGES = sorted(
    str(page.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "*/README.md")
    for page in ROOT.glob(pattern)
)


def anchors(page: Path) -> set[str]:
    """Where links into a page may lead, as the common renderers name headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {"#" + word.replace(" ", "-") for word in words}


def leads(page: Path, target: str, anchor: str) -> bool:
    """Whether a link of a page finds its file, and its heading if it names one."""
    file = page.parent / target if target else page
    return file.exists() and (not anchor or anchor in anchors(file))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    """Files and headings that a page links to are there."""
    page = ROOT / name
    links: list[tuple[str, str]] = LINK.findall(FENCED.sub("", page.read_text()))
    assert [link for link in links if not leads(page, *link)] == []


def test_the_index_names_every_page() -> None:
    """A page that nothing leads to is read by nobody."""
    docs = ROOT / "docs"
    linked = {target for target, _ in LINK.findall((docs / "README.md").read_text())}
    assert {page.name for page in docs.glob("*.md")} - linked == {"README.md"}


def test_the_decisions_are_listed() -> None:
    """The index of the records has each, by its number, and in their order."""
    folder = ROOT / "docs" / "adr"
    rows = re.findall(r"^\| \[(\d+)\]\((.+?)\)", (folder / "README.md").read_text(), re.MULTILINE)
    records = sorted(file.name for file in folder.glob("0*.md"))
    assert rows == [(str(int(name[:4])), name) for name in records]


def test_every_problem_is_explained() -> None:
    """Each type has a row that says what happened and what to do; none is made up."""
    rows: list[tuple[str, str, str]] = ROW.findall((ROOT / "docs" / "errors.md").read_text())
    twice = [ProblemType.UNSUPPORTED]  # a service's answer, and a refusal of ours
    assert sorted(type_ for type_, _, _ in rows) == sorted([*ProblemType, *twice])
    helpless = [type_ for type_, _, remedy in rows if not remedy]
    assert helpless == [ProblemType.UNSUPPORTED]


def test_rest_s_page_has_the_statuses() -> None:
    """The table of refusals gives each problem type the status that is answered."""
    section = (ROOT / "docs" / "rest.md").read_text().partition("## When something is refused")[2]
    rows = re.findall(r"^\| ([\d, ]+) \| (.+?) \|", section, re.MULTILINE)
    said = {
        type_: {int(status) for status in statuses.split(", ")}
        for statuses, types in rows
        for type_ in re.findall(r"`(amends:[a-z-]+)`", types)
    }
    steps = {ProblemType.INVALID_INPUT, ProblemType.BAD_EXPRESSION, ProblemType.ENGINE_FAULT}
    refusals = {str(type_): status for type_, status in STATUS.items() if type_ not in steps}
    assert sorted(said) == sorted(refusals)
    assert {t: s for t, s in refusals.items() if s not in said[t]} == {}


def test_the_architecture_is_one_page_and_true() -> None:
    """It names every distribution and every package of the orchestrator, and folders there are."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(page.splitlines()) <= 60
    named = set(re.findall(r"`([a-z_]+)/?`", page))
    packages = {
        path.parent.name for path in ROOT.glob("orchestrator/amends_orchestrator/*/__init__.py")
    }
    distributions = {path.parent.name for path in ROOT.glob("*/pyproject.toml")}
    assert (packages | distributions) - named == set()
    folders = re.findall(r"`([a-z]+)/`", page)
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_contributors_find_every_folder_of_tests() -> None:
    """Each folder below tests/ is told, and no other."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("## Where tests lie")[2].partition("\n## ")[0]
    told = {
        name
        for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
        for name in row.split(", ")
    }
    there = {f"`{p.name}`" for p in (ROOT / "tests").iterdir() if any(p.glob("test_*.py"))}
    assert told == there
