"""The tutorial of drills: every command of it runs, and every fault is told."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amends_orchestrator.cli.drill_options import FaultName
from amends_orchestrator.drills.matrix import KINDS, Fault
from amends_orchestrator.local import folders
from docs.blocks import ROOT, blocks
from docs.test_docs import run

PAGE = "docs/drills.md"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a server started by root can reach, so that the record stays in it."""
    made = folders.temporary("tutorial")
    yield made
    shutil.rmtree(made)


@pytest.mark.slow
@pytest.mark.servers
def test_the_tutorial_word_for_word(folder: Path) -> None:
    """From the first drill to the gate, with an undo that is broken on the way and found."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env |= {"COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
    for block in blocks(PAGE, "sh"):
        if block.mode == "run":
            folder = run(block, folder, env)


def test_every_fault_is_told() -> None:
    """On the page, and on the command line, in the same words."""
    table = (ROOT / PAGE).read_text().partition("## What is tried")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", table))
    faults = {fault.value for fault in Fault} - {Fault.CALM.value}
    short = Fault.KILLED_BEFORE_DECISION.value  # written with an ellipsis
    assert told == faults - {short}
    assert {name.value for name in FaultName} == faults
    assert set(KINDS) == set(Fault)
