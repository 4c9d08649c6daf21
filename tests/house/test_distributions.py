"""What is shipped: wheels of all six distributions, which are whole without this checkout."""

import re
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from house.fresh import ROOT, build, environment, run

FOLDERS = ("contracts", "amqp", "migrations", "participants", "orchestrator", ".")
OURS = {
    "amends",
    *("amends_amqp", "amends_contracts", "amends_migrations"),
    *("amends_orchestrator", "amends_participants"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All wheels of a release."""
    return build(FOLDERS, tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Path:
    """Where the programs of a fresh environment are, as after `pip install amends`."""
    return environment(tmp_path_factory.mktemp("installed"), wheels).parent


def test_all_six_say_what_they_are(wheels: list[Path]) -> None:
    """Each carries the license's text, the same as the checkout's, and a page for its readers."""
    text = (ROOT / "LICENSE").read_bytes()
    found: dict[str, tuple[bool, str | None, bool]] = {}
    for wheel in wheels:
        name = wheel.name.partition("-")[0]
        with zipfile.ZipFile(wheel) as opened:
            info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
            metadata = message_from_string(opened.read(f"{info}/METADATA").decode())
            same = opened.read(f"{info}/licenses/LICENSE") == text
        readme = bool(str(metadata.get_payload()).strip())
        found[name] = (same, metadata["License-Expression"], readme)
    assert found == dict.fromkeys(OURS, (True, "Apache-2.0", True))


def test_wheels_hold_what_is_tracked(wheels: list[Path]) -> None:
    """SQL, schemas, templates and pages come along; caches and tests do not."""
    packed: set[str] = set()
    for wheel in wheels:
        packed |= {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    wanted: set[str] = set()
    for folder in FOLDERS[:-1]:
        tracked = run("git", "ls-files", f"amends_{folder}", cwd=ROOT / folder)
        wanted |= set(tracked.split())
    assert {n for n in wanted - packed if (ROOT / folder_of(n) / n).exists()} == set()
    strays = re.compile(r"__pycache__|\.pyc$|(^|/)tests?/")
    assert [name for name in packed if strays.search(name)] == []


def folder_of(name: str) -> str:
    """The folder of the checkout that a package lies in."""
    return name.partition("/")[0].removeprefix("amends_")


def test_an_installed_amends_works(programs: Path, tmp_path: Path) -> None:
    """Both programs start; a new saga is written and verified, and the example is there."""
    assert "Usage: amends" in run(programs / "amends", "--help", cwd=tmp_path)
    said = run(programs / "amends-participant", "--help", cwd=tmp_path)
    assert said.startswith("usage: amends-participant")

    run(programs / "amends", "new", "orders", cwd=tmp_path)
    run(programs / "amends", "verify", "orders.py", cwd=tmp_path / "orders")

    where = "from amends_orchestrator.cli.example import examples_folder; print(examples_folder())"
    examples = Path(run(programs / "python", "-I", "-c", where).strip())
    run(programs / "amends", "verify", examples / "trip/book_trip.py", cwd=tmp_path)
    assert ROOT not in examples.parents

    assert "every promise was kept" in run(programs / "amends", "sim", "--seed", "3", cwd=tmp_path)
