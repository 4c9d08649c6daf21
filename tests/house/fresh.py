"""Wheels built from this checkout, and fresh environments with what is installed from them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The output of a command that must succeed, away from this checkout's environment."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folders: Sequence[str], target: Path) -> list[Path]:
    """A wheel of each of these folders of the checkout."""
    hatch = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target)
    for folder in folders:
        run(*hatch, cwd=ROOT / folder)
    return sorted(target.glob("*.whl"))


def environment(home: Path, wheels: Sequence[Path | str]) -> Path:
    """The interpreter of a new environment with those wheels and what they need, as locked.

    A wheel may be followed by extras, `….whl[otel]`.
    """
    run(sys.executable, "-m", "venv", "--without-pip", home)
    uv = Path(sys.executable).with_name("uv")
    constraints = ("--constraint", ROOT / "requirements.lock")
    run(uv, "pip", "install", "--quiet", "--python", home / "bin/python", *constraints, *wheels)
    return home / "bin/python"
