"""One world for the tests that leave it as they found it; others bring up their own."""

from collections.abc import Generator
from pathlib import Path

import pytest

from acceptance.world import World, running_world
from cli.running import Amends, in_process


@pytest.fixture(scope="package")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    """RabbitMQ, Postgres, one orchestrator, four services: up once for all tests here."""
    folder = tmp_path_factory.mktemp("world")
    passable(folder)
    with running_world(folder) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Generator[World]:
    """The shared one; after the test every promise must still hold."""
    yield shared_world
    assert shared_world.broken() == []


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """For a world of the test's own."""
    passable(tmp_path)
    return tmp_path


@pytest.fixture
def amends(capsys: pytest.CaptureFixture[str]) -> Amends:
    """Run `amends` with these arguments."""
    return in_process(capsys)


def passable(folder: Path) -> None:
    """Servers that root starts run as somebody else, who must get through."""
    folder.chmod(0o711)
