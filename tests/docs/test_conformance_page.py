"""docs/conformance.md is true: its sessions run as they stand, its table is the code's."""

import os
import re
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from amends_orchestrator.conform.checks import CHECKS
from amends_orchestrator.conform.examples import read_examples
from conform.node import NODE, install_cars
from docs.blocks import ROOT, blocks
from docs.test_docs import run

PAGE = "docs/conformance.md"


def table() -> str:
    """Every check with what is played and the section of its rule."""
    lines = ["| check | played | for | rule |", "|---|---|---|---|"]
    lines += [
        f"| `{check.name}` | {check.title} | {check.of} | [{check.rule.section}]"
        f"(wire.md#{check.rule.section}) |"
        for check in CHECKS
    ]
    return "\n".join(lines)


def test_the_table_on_the_page_is_the_code_s() -> None:
    """Made from the checks; `AMENDS_WRITE_DOCS=1` writes it."""
    file = Path(ROOT) / PAGE
    pattern = re.compile(r"(<!-- table: begin[^\n]*-->\n).*?(<!-- table: end -->)", re.DOTALL)
    page = file.read_text()
    wanted = pattern.sub(lambda m: f"{m[1]}{table()}\n{m[2]}", page)
    if os.environ.get("AMENDS_WRITE_DOCS"):
        file.write_text(wanted)
    assert page == wanted


def test_the_file_on_the_page_can_be_read() -> None:
    """It shows every member that there is, but `probe`."""
    (block,) = blocks(PAGE, "yaml")
    command = read_examples(block.code, "cars").commands["cars.rent"]
    assert set(type(command).model_fields) - command.model_fields_set == {"probe"}


@pytest.mark.slow
def test_its_sessions_run(tmp_path: Path, broker_url: str, database_url: str) -> None:
    """The first run, the broken undo, the run in CI."""
    tools = tmp_path / "tools"
    tools.mkdir()
    node = tools / "node"
    node.write_text(f'#!/bin/sh\nexec "{NODE}" "$@"\n')
    node.chmod(node.stat().st_mode | stat.S_IXUSR)
    path = (str(tools), str(Path(sys.executable).parent), os.environ["PATH"])
    env = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
    env |= {"PATH": os.pathsep.join(path), "COLUMNS": "120"}
    env |= {"AMENDS_BROKER_URL": broker_url, "AMENDS_DATABASE_URL": database_url}
    folder = install_cars(tmp_path)
    ran = [run(block, folder, env) for block in blocks(PAGE, "sh") if block.mode == "run"]
    assert ran == [folder] * 3
    assert ET.parse(folder / "conform.xml").getroot().get("failures") == "0"
    assert (folder / "conform.svg").read_text().startswith("<svg")
