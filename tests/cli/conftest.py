"""Running the command line in this process, as a person or script would see it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amends_orchestrator.cli.main import run
from cli.fake_service import FakeService, fake_service


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Amends = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No service is known but what the test names."""
    monkeypatch.chdir(tmp_path)
    for name in ("AMENDS_API_URL", "AMENDS_API_KEY", "AMENDS_DATABASE_URL", "AMENDS_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "140")


@pytest.fixture
def amends(capsys: pytest.CaptureFixture[str]) -> Amends:
    """Run `amends` with these arguments."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Ran(int(code), said.out, said.err)

    return call


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A fake service that AMENDS_API_URL names."""
    with fake_service() as fake:
        monkeypatch.setenv("AMENDS_API_URL", fake.url)
        monkeypatch.setenv("AMENDS_API_KEY", "key-1")
        yield fake
