"""`amends draw`: from a file or from the service, to a file or to standard output."""

import json
from pathlib import Path

import pytest

from amends_contracts.documents import dump_definition, load_definition
from amends_orchestrator.drawing import mermaid, svg
from cli.fake_service import FakeService
from cli.running import Amends

DOCUMENT = """\
name: trip
version: 3
steps:
  - {id: flight, kind: action, command: flights.reserve, compensation: {}}
"""
DRAWN = load_definition(
    DOCUMENT.replace("compensation: {}", "compensation: {command: flights.reserve}")
)


@pytest.fixture
def file() -> str:
    """A definition in the working folder."""
    Path("trip.yaml").write_text(DOCUMENT)
    return "trip.yaml"


def test_a_file_is_drawn_as_mermaid(amends: Amends, file: str) -> None:
    """To standard output, unless told otherwise."""
    ran = amends("draw", file)
    assert (ran.code, ran.out) == (0, mermaid(DRAWN))


def test_the_ending_says_the_format(amends: Amends, file: str) -> None:
    """`-o trip.svg` needs no `--format`."""
    ran = amends("draw", file, "-o", "trip.svg")
    assert (ran.code, ran.out) == (0, "trip@3 drawn to trip.svg\n")
    assert Path("trip.svg").read_text() == svg(DRAWN)


def test_a_script_gets_the_picture_in_json(amends: Amends, file: str) -> None:
    """With what was drawn."""
    ran = amends("draw", file, "--format", "svg", "--json")
    picture = svg(DRAWN)
    assert ran.json == {"name": "trip", "version": 3, "format": "svg", "picture": picture}


@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("trip", ["/v1/definitions/trip", "/v1/definitions/trip/3"]),
        ("trip@3", ["/v1/definitions/trip/3"]),
    ],
)
def test_a_registered_one_is_drawn_by_name(
    amends: Amends, service: FakeService, what: str, asked: list[str]
) -> None:
    """The newest, or that version."""
    document = dump_definition(load_definition(DOCUMENT))
    service.on("GET", "/v1/definitions/trip", {"items": [{"name": "trip", "version": 3}]})
    service.on("GET", "/v1/definitions/trip/3", {"document": document})

    ran = amends("draw", what)

    assert (ran.code, ran.out) == (0, mermaid(DRAWN))
    assert [one.path for one in service.asked] == asked


def test_what_is_not_registered_is_said(amends: Amends, service: FakeService) -> None:
    """Exit code 4, as for everything that is not there."""
    ran = amends("draw", "nothing", "--json")
    assert (ran.code, json.loads(ran.err)["exit"]) == (4, 4)


def test_what_is_no_definition_is_said(amends: Amends) -> None:
    """With the place in the file."""
    Path("bad.yaml").write_text(DOCUMENT.replace("action", "acton"))
    ran = amends("draw", "bad.yaml")
    assert ran.code == 2
    assert "bad.yaml:4: /steps/0/kind: there is no kind 'acton'" in ran.err


def test_a_folder_that_is_not_there_is_said(amends: Amends, file: str) -> None:
    """No traceback for a typo."""
    ran = amends("draw", file, "-o", "nowhere/trip.svg")
    assert (ran.code, ran.err.startswith("error: nowhere/trip.svg")) == (2, True)
