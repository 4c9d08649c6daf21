"""`make bench` measures everything there is and prints JSON; what it measures is no test."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    file.stem for file in (ROOT / "benchmarks").glob("*.py") if not file.stem.startswith("_")
)


def test_every_benchmark_can_be_run() -> None:
    """Each module has `run(seconds)`, which is what `python -m benchmarks` calls."""
    sys.path.insert(0, str(ROOT))
    try:
        runs = {name: importlib.import_module(f"benchmarks.{name}").run for name in MODULES}
    finally:
        sys.path.remove(str(ROOT))
    found = {name: list(inspect.signature(run).parameters) for name, run in runs.items()}
    assert found == {name: ["seconds"] for name in MODULES}


def test_a_benchmark_answers_json() -> None:
    """One document: the machine, and the numbers of each benchmark by its name."""
    command = [sys.executable, "-m", "benchmarks", "core_decide", "--seconds", "0.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert sorted(answer) == ["machine", "results"]
    assert min(answer["results"]["core_decide"][name] for name in ("start", "reply")) > 0
