"""`verify` and `register`: from JSON, YAML and Python, with the author's own line."""

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from cli.fake_service import FakeService
from cli.running import Amends

PLAN = """\
from amends_contracts.command import Command
from amends_contracts.plan import Plan
from pydantic import BaseModel


class Trip(BaseModel):
    to: str


class Reserve(Command[None], name="flights.reserve", effect="transactional"):
    to: str


plan = Plan("trip", version=3, input=Trip)
plan.do(Reserve(to=plan.input.to), id="flight")
"""
DOCUMENT = """\
name: trip
version: 3
steps:
  - id: flight
    kind: action
    command: flights.reserve
    input: {to: Oslo}
    compensation: {}
"""


@pytest.fixture(autouse=True)
def fresh_imports(tmp_path: Path) -> Generator[None]:
    """Each test imports the user's modules anew."""
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(("name", "content"), [("a.py", PLAN), ("a.yaml", DOCUMENT)])
def test_a_plan_that_can_work(amends: Amends, name: str, content: str) -> None:
    """Nothing to mend is 0."""
    Path(name).write_text(content)

    ran = amends("verify", name, "--json")

    assert (ran.code, ran.json) == (0, {"name": "trip", "version": 3, "ok": True, "errors": []})
    assert amends("verify", name).out == "trip@3  can work\n"


def test_findings_name_the_author_s_line(amends: Amends) -> None:
    """A step that cannot be undone before the pivot: refused, with what to do, exit code 1."""
    Path("plan_a.py").write_text(
        PLAN.replace('effect="transactional"', 'effect="keyed", reversal="irreversible"')
        + 'plan.do(Reserve(to="Oslo"), id="again", pivot=True)\n'
    )

    ran = amends("verify", "plan_a.py", "--json")

    assert ran.code == 1
    error = ran.json["errors"][0]
    assert (error["file"], error["line"], error["path"]) == ("plan_a.py", 15, "/steps/0/reversal")
    assert error["remedy"]


def test_a_ci_reads_findings_as_json(amends: Amends) -> None:
    """All of them, each with place, reason and remedy; the exit code says that there are some."""
    Path("a.yaml").write_text(DOCUMENT.replace("compensation: {}", "timeout: PT0S"))

    ran = amends("verify", "a.yaml", "--json")

    nobody = "whether 'flights.reserve' can be taken back is not known"
    how = (
        "give it a `compensation` (`{}` if the same command undoes it), or say "
        "`reversal: read_only` or `irreversible`, or start its participant first"
    )
    errors = [
        {"path": "/steps/0/reversal", "reason": nobody, "remedy": how},
        {
            "path": "/steps/0/timeout",
            "reason": "every attempt would expire at once",
            "remedy": "give it more",
        },
    ]
    lines = [4, 8]
    wanted = [
        error | {"line": line, "file": "a.yaml"} for error, line in zip(errors, lines, strict=True)
    ]
    said = {"name": "trip", "version": 3, "ok": False, "errors": wanted}
    assert (ran.code, ran.json, ran.err) == (1, said, "")


def test_what_cannot_be_read_is_json_too(amends: Amends) -> None:
    """On standard error, with the exit code in it."""
    ran = amends("verify", "nothing.yaml", "--json")

    said = {"error": "There is no file nothing.yaml.", "exit": 2}
    assert (ran.code, ran.out, json.loads(ran.err)) == (2, "", said)


def test_a_misspelt_field_is_said_with_the_line(amends: Amends) -> None:
    """The plan does not get as far as the verifier."""
    Path("plan_b.py").write_text(PLAN.replace("plan.input.to)", "plan.input.too)"))

    ran = amends("verify", "plan_b.py")

    assert ran.code == 2
    assert ran.err == "error: plan_b.py:15: Trip has no field 'too'; did you mean 'to'?\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = ", "plan_c.py:1: SyntaxError"),
        ("import nowhere", "plan_c.py:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("\n1 / 0", "plan_c.py:2: ZeroDivisionError"),
        ("x = 1", "plan_c.py holds no plans"),
        (
            "from pydantic import BaseModel\nclass A(BaseModel):\n    n: int\nA(n='x')",
            "plan_c.py:4: A: n: Input should be a valid integer",
        ),
        (PLAN + 'other = Plan("other")', "plan_c.py holds 2 plans"),
    ],
)
def test_code_that_gives_no_plan_is_said_without_a_traceback(
    amends: Amends, code: str, said: str
) -> None:
    """The author's file and line, never ours."""
    Path("plan_c.py").write_text(code)

    ran = amends("verify", "plan_c.py")

    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_one_of_several_plans_is_named(amends: Amends) -> None:
    """file.py:name, or module:name."""
    Path("plan_d.py").write_text(PLAN + 'other = Plan("other")\nother.wait("2h")\n')

    assert amends("verify", "plan_d.py:plan").code == 0
    assert amends("verify", "plan_d:plan").code == 0
    assert amends("verify", "plan_d:nothing").code == 2


def test_a_file_of_a_package_may_import_its_siblings(amends: Amends) -> None:
    """It is imported by the name it has in its package."""
    Path("pkg").mkdir()
    Path("pkg/__init__.py").touch()
    Path("pkg/names.py").write_text('FLIGHT = "flight"\n')
    Path("pkg/plan.py").write_text(
        "from pkg.names import FLIGHT\n" + PLAN.replace('"flight"', "FLIGHT")
    )

    assert amends("verify", "pkg/plan.py").code == 0


@pytest.mark.parametrize("name", ["nothing.py", "nothing.yaml", "nothing"])
def test_what_is_not_there_is_a_usage_error(amends: Amends, name: str) -> None:
    """A typo in the file's name."""
    assert amends("verify", name).code == 2


def test_a_document_s_faults_have_lines(amends: Amends) -> None:
    """YAML and JSON know theirs too."""
    Path("a.yaml").write_text(DOCUMENT.replace("kind: action", "kind: acton"))

    ran = amends("verify", "a.yaml")

    assert ran.code == 2
    assert ran.err == (
        "error: a.yaml:5: /steps/0/kind: there is no kind 'acton'; did you mean 'action'?\n"
    )


def test_register_sends_the_document(amends: Amends, service: FakeService) -> None:
    """A plan in Python is registered as the document it records."""
    Path("plan_e.py").write_text(PLAN)
    service.on("POST", "/v1/definitions", {"name": "trip", "version": 3}, status=201)

    ran = amends("register", "plan_e.py")

    assert (ran.code, ran.out) == (0, "trip@3 registered\n")
    sent = service.asked[0].body
    assert (sent["name"], sent["version"], sent["steps"][0]["id"]) == ("trip", 3, "flight")


def test_a_version_with_other_content_is_refused(amends: Amends, service: FakeService) -> None:
    """A name and version stand for one content for ever."""
    Path("a.yaml").write_text(DOCUMENT)
    problem = {"type": "amends:version-conflict", "detail": "raise the version"}
    service.on("POST", "/v1/definitions", problem, status=409)

    ran = amends("register", "a.yaml", "--json")

    assert ran.code == 1
    assert json.loads(ran.err)["problem"] == problem


ITEM = {"name": "trip", "version": 3, "digest": "d", "registered_at": "2026-01-05T09:30:00Z"}


def test_definitions_are_listed(amends: Amends, service: FakeService) -> None:
    """The newest of each, or all versions of one with what holds them."""
    versions = [
        ITEM | {"retired_at": None, "debt": {"open": 12, "undoable": 1}},
        ITEM
        | {"version": 2, "retired_at": "2026-01-06T09:30:00Z", "debt": {"open": 0, "undoable": 0}},
    ]
    service.on("GET", "/v1/definitions", {"items": [ITEM]})
    service.on("GET", "/v1/definitions/trip", {"items": versions})

    assert [line.split()[0] for line in amends("definitions").out.splitlines()] == [
        "definition",
        "trip@3",
    ]
    shown = [line.split() for line in amends("definitions", "trip").out.splitlines()]
    assert [(line[0], line[-4:]) for line in shown[1:]] == [
        ("trip@3", ["takes", "starts", "12", "1"]),
        ("trip@2", [*shown[2][-4:-3], "retired", "0", "0"]),
    ]
    assert amends("definitions", "trip", "--json").json == {"items": versions}


def test_a_version_is_retired(amends: Amends, service: FakeService) -> None:
    """With the reason, which the audit keeps."""
    service.on("POST", "/v1/definitions/trip/3/retire", ITEM)
    ran = amends("retire", "trip@3", "-r", "4 is out")
    assert (ran.code, ran.out) == (0, "trip@3 takes no new starts\n")
    assert service.asked[0].body == {"reason": "4 is out"}


def test_a_version_that_is_needed_is_not_retired(amends: Amends, service: FakeService) -> None:
    """The refusal says why; exit code 1."""
    problem = {"type": "amends:undo-debt", "detail": "trip@3 has 2 sagas that did not end yet."}
    service.on("POST", "/v1/definitions/trip/3/retire", problem, status=409)
    ran = amends("retire", "trip@3", "-r", "4 is out")
    assert ran.code == 1
    assert "trip@3 has 2 sagas that did not end yet." in ran.err


@pytest.mark.parametrize("what", ["trip", "trip@", "trip@x"])
def test_what_names_no_version_is_not_retired(amends: Amends, what: str) -> None:
    """Never the newest by accident."""
    ran = amends("retire", what, "-r", "old")
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"error: {what!r} names no version.")
