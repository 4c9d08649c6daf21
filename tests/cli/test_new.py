"""`amends new`: what it writes runs, and its own tests pass."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.running import Amends

TIMEOUT_S = 180.0


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (
            ("trip",),
            *[["Dockerfile", "README.md", "conftest.py", "pyproject.toml", "services.py"]],
        ),
        (("saga", "trip"), ["test_trip.py", "trip.py"]),
        (("participant", "car-rentals"), ["Dockerfile", "car_rentals.py", "test_car_rentals.py"]),
    ],
)
def test_it_writes_a_folder_of_its_own(
    amends: Amends, arguments: tuple[str, ...], files: list[str]
) -> None:
    """A saga unless it is said otherwise; every file is told."""
    ran = amends("new", *arguments, "--json")

    name = arguments[-1]
    assert (ran.code, ran.json["name"]) == (0, name)
    assert {f"{name}/{file}" for file in files} <= set(ran.json["files"])
    assert all(Path(file).is_file() for file in ran.json["files"])
    assert not any("@" in file for file in ran.json["files"])


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.parametrize(("kind", "name"), [("saga", "gift-shop"), ("participant", "car-rentals")])
def test_its_own_tests_pass(
    amends: Amends,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    name: str,
) -> None:
    """As they are written, on the first day."""
    amends("new", kind, name)
    monkeypatch.setenv("AMENDS_DATABASE_URL", database_url)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / name,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_its_plan_can_work(amends: Amends) -> None:
    """The verifier has nothing to say."""
    amends("new", "gift-shop")

    assert amends("verify", "gift-shop/gift_shop.py").code == 0


def test_nothing_is_overwritten(amends: Amends) -> None:
    """A folder that holds something stays as it is."""
    Path("trip").mkdir()
    Path("trip/notes.txt").touch()

    ran = amends("new", "trip")

    assert ran.code == 2
    assert "is there already and not empty" in ran.err
    assert [p.name for p in Path("trip").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["Trip", "9lives", "a b", "../up", "json", "services"])
def test_names_that_cannot_be_are_refused(amends: Amends, name: str) -> None:
    """With one that can."""
    ran = amends("new", "saga", name)

    assert ran.code == 2
    assert "For example: amends new saga " in ran.err
    assert list(Path.cwd().iterdir()) == []


def test_an_unknown_kind_is_refused(amends: Amends) -> None:
    """Sagas and participants are what can be made."""
    assert amends("new", "robot", "marvin").code == 2


def test_a_keyword_is_no_name(amends: Amends) -> None:
    """`class.py` could not be imported by anything."""
    ran = amends("new", "class")

    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        "error: 'class' is a name that Python needs.",
    )


def test_a_folder_that_cannot_be_written_is_said(
    amends: Amends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not a fault of this program."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/closed/trip")

    monkeypatch.setattr(Path, "mkdir", refuse)
    ran = amends("new", "trip")

    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: /closed/trip: Permission denied.")
