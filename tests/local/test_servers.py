"""The order in which a server is looked for, and what is said when there is none."""

from pathlib import Path

import pytest

from amends_orchestrator.local import debian, docker, postgres, rabbitmq, servers
from amends_orchestrator.local.servers import Given, NoServer, NotOurs, Way


class Started:
    """Stands for a server; says how it was had."""

    def __init__(self, way: str) -> None:
        self.way = way


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that has Docker and the programs; tests take some away."""

    def private(*_given: object, **_named: object) -> Started:
        return Started("private")

    def in_docker(**_named: object) -> Started:
        return Started("docker")

    for module in (postgres, rabbitmq):
        monkeypatch.setattr(module, "available", lambda: True)
        monkeypatch.setattr(module, "start", private)
    monkeypatch.setattr(docker, "answers", lambda: True)
    monkeypatch.setattr(docker, "postgres", in_docker)
    monkeypatch.setattr(docker, "rabbitmq", in_docker)
    return monkeypatch


def way_of(server: object) -> str:
    """How a server was had."""
    assert isinstance(server, Started)
    return server.way


def test_a_url_in_the_environment_is_taken(machine: pytest.MonkeyPatch) -> None:
    """A server given by URL wins over all that could be started."""
    environ = {"AMENDS_DATABASE_URL": "postgresql://u@h/d", "AMENDS_BROKER_URL": "amqp://h/"}
    assert (servers.postgres(environ=environ), servers.rabbitmq(environ=environ)) == (
        Given("postgresql://u@h/d", "AMENDS_DATABASE_URL"),
        Given("amqp://h/", "AMENDS_BROKER_URL"),
    )


def test_docker_comes_before_private_processes(machine: pytest.MonkeyPatch) -> None:
    """Where Docker answers it is used, unless the caller wants private processes first."""
    assert [
        way_of(servers.postgres(environ={})),
        way_of(servers.rabbitmq(environ={})),
        way_of(servers.rabbitmq(environ={}, first=Way.PRIVATE)),
    ] == ["docker", "docker", "private"]


def test_without_docker_processes_are_private(machine: pytest.MonkeyPatch) -> None:
    """Where Docker does not answer, private processes are next."""
    machine.setattr(docker, "answers", lambda: False)
    assert way_of(servers.postgres(environ={})) == "private"


def test_the_choice_leaves_one_way(machine: pytest.MonkeyPatch) -> None:
    """AMENDS_SERVERS leaves one way, and no other is taken when that one is not there."""
    environ = {"AMENDS_SERVERS": "docker"}
    assert way_of(servers.postgres(environ=environ, first=Way.PRIVATE)) == "docker"
    machine.setattr(docker, "answers", lambda: False)
    with pytest.raises(NoServer):
        servers.postgres(environ=environ)


def test_an_unknown_choice_is_said(machine: pytest.MonkeyPatch) -> None:
    """A misspelt AMENDS_SERVERS is named, with what it may be."""
    with pytest.raises(NoServer, match="AMENDS_SERVERS is 'podman': unset it, or say docker or"):
        servers.rabbitmq(environ={"AMENDS_SERVERS": "podman"})


def test_no_server_names_the_command_to_run(machine: pytest.MonkeyPatch) -> None:
    """Where there is no way to a server, the error says which command brings one."""
    machine.setattr(docker, "answers", lambda: False)
    machine.setattr(rabbitmq, "available", lambda: False)
    with pytest.raises(NoServer) as refused:
        servers.rabbitmq(environ={})
    assert str(refused.value) == (
        "No RabbitMQ on this machine. Run as root: apt-get install --no-install-recommends "
        "rabbitmq-server (macOS: brew install rabbitmq); without root, on Debian: "
        "python -m amends_orchestrator.local.debian"
    )


def test_a_given_server_is_not_ours_to_kill() -> None:
    """A server given by URL is left running, and refuses to be killed or managed."""
    given = Given("amqp://h/", "AMENDS_BROKER_URL")
    given.stop()
    for refused in (given.kill, given.restart, given.ctl):
        with pytest.raises(NotOurs, match="given by AMENDS_BROKER_URL"):
            refused()


def test_no_docker_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that does not answer is a plain no."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert docker.answers() is False


def test_an_unpacked_copy_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Packages unpacked without root are looked for in the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert debian.scripts() == tmp_path / "amends/rabbitmq/usr/lib/rabbitmq/bin"
