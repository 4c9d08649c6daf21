"""The command line, alone or with a service that answers as it is told to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.fake_service import FakeService, fake_service
from cli.running import Amends, in_process


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
    return in_process(capsys)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A fake service that AMENDS_API_URL names."""
    with fake_service() as fake:
        monkeypatch.setenv("AMENDS_API_URL", fake.url)
        monkeypatch.setenv("AMENDS_API_KEY", "key-1")
        yield fake
