"""The Dockerfile's two environments, made from what it installs, without Docker."""

import re
from pathlib import Path

import pytest

from house.fresh import ROOT, build, environment, run

WHEEL = re.compile(r"/wheels/(\w+)-\*\.whl\)?(\[[\w,]+\])?")
ORCHESTRATOR = """
import amends_orchestrator.cli.service, amends_orchestrator.console.pages
from amends_orchestrator.telemetry.export import OtlpTracing
OtlpTracing().close()
"""
PARTICIPANT = """
import sys
sys.path.insert(0, "examples")
from amends_participants.otel import OtelTracing
from amends_participants.run import load
OtelTracing("trip")
for name in ("flights", "hotels", "mail", "payments"):
    app = load(f"trip.{name}:app")
    print(f"{app.service}:{type(app).__name__}")
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the build stage makes, by package."""
    members = re.findall(r"for member in ([\w ]+);", (ROOT / "Dockerfile").read_text())
    built = build(members[0].split(), tmp_path_factory.mktemp("wheels"))
    return {wheel.name.partition("-")[0]: wheel for wheel in built}


def image(stage: str, wheels: dict[str, Path], home: Path) -> Path:
    """The interpreter of the environment that a stage makes."""
    text = (ROOT / "Dockerfile").read_text()
    body = text.partition(f"FROM build AS {stage}\n")[2].partition("\nFROM ")[0]
    installed = [f"{wheels[name]}{extras}" for name, extras in WHEEL.findall(body)]
    assert installed, f"stage {stage} installs nothing"
    return environment(home, installed)


def test_the_orchestrators_image_serves_and_migrates(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    """Without the metapackage: its commands, the page and traces are there; a plan is read."""
    python = image("orchestrator-env", wheels, tmp_path / "image")
    run(python, "-I", "-c", ORCHESTRATOR)
    for command in ("serve", "migrate", "doctor"):
        assert f"amends {command}" in run(python.with_name("amends"), command, "--help")
    run(python.with_name("amends"), "verify", ROOT / "examples/trip/book_trip.py", cwd=tmp_path)


def test_the_participants_image_has_the_trips_services(
    wheels: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four load with the extras that are installed, payments on FastStream."""
    monkeypatch.setenv("AMENDS_BROKER_URL", "amqp://payments:secret@localhost:5672/")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    python = image("participant-env", wheels, tmp_path / "image")
    loaded = run(python, "-c", PARTICIPANT).split()
    plain = {f"{name}:Participant" for name in ("flights", "hotels", "mail")}
    assert set(loaded) == plain | {"payments:FastStreamParticipant"}
    assert "usage" in run(python.with_name("amends-participant"), "--help")
