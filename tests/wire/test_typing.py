"""pyright sees through the plan: what is right passes, each mistake is refused on its own line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "typing"
REFUSED = re.compile(r"# refused: (\w+)$")
NOISE = frozenset(
    {
        *("reportUnknownMemberType", "reportUnknownArgumentType", "reportUnknownVariableType"),
        "reportUnusedExpression",
    }
)
"""Rules that a mistake trips besides its own."""


def errors(folder: Path, source: Path) -> set[tuple[int, str]]:
    """(line, rule) of what pyright strict says of the file."""
    (folder / "example.py").write_text(source.read_text("utf-8"))
    config = {
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT / "contracts"), str(ROOT / "tests")],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    pyright = Path(sys.executable).with_name("pyright")
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, "--project", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {(error["range"]["start"]["line"] + 1, error.get("rule", "")) for error in found}


@pytest.mark.slow
def test_what_is_right_passes(tmp_path: Path) -> None:
    """Proxies have the types of the values that they stand for."""
    assert errors(tmp_path, EXAMPLES / "right.py") == set()


@pytest.mark.slow
def test_each_mistake_is_refused_on_its_line(tmp_path: Path) -> None:
    """Wrong types, misspelt fields and keywords, things that are no commands."""
    source = EXAMPLES / "wrong.txt"
    expected = {
        (number, found[1])
        for number, line in enumerate(source.read_text("utf-8").splitlines(), 1)
        if (found := REFUSED.search(line))
    }
    assert {
        (line, rule) for line, rule in errors(tmp_path, source) if rule not in NOISE
    } == expected


def test_the_right_examples_run() -> None:
    """What pyright accepts can be recorded."""
    from wire.typing import right

    assert right.plan.document().name == "p"
