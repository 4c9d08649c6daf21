"""Postgres and RabbitMQ in containers, through testcontainers, where Docker answers."""

import importlib.util
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from amends_orchestrator.local.ports import free_port, speaks_amqp, speaks_postgres
from amends_orchestrator.local.processes import ServerFailed

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

POSTGRES_IMAGE = "postgres:18-alpine"
RABBITMQ_IMAGE = "rabbitmq:4-alpine"
USER = "amends"
START_S = 120.0


class Wrapped(Protocol):
    """What we use of Docker's own container object, which has no types."""

    def kill(self) -> None: ...
    def restart(self, timeout: int) -> None: ...


@dataclass
class DockerServer:
    """A container. Its port stays the same over a restart; `stop` removes it with its data."""

    url: str
    port: int
    _container: "DockerContainer" = field(repr=False)
    _speaks: Callable[[int], bool] = field(repr=False)
    _running: bool = True

    @property
    def pids(self) -> dict[str, int]:
        """None that mean anything on this machine."""
        return {}

    @property
    def running(self) -> bool:
        """Docker's to judge: its containers are started again by `restart` alone."""
        return True

    def stop(self) -> None:
        """Stop and remove the container. A second call does nothing."""
        if self._running:
            self._running = False
            self._container.stop()

    def kill(self) -> None:
        """SIGKILL to the container's first process."""
        self._wrapped().kill()

    def restart(self) -> None:
        """Start it again on the same data and port."""
        self._wrapped().restart(timeout=10)
        _wait(self._speaks, self.port, self._container.image)

    def _wrapped(self) -> Wrapped:
        return cast("Wrapped", self._container.get_wrapped_container())


@dataclass
class DockerRabbitmq(DockerServer):
    """A broker in a container, with its command line."""

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl` in the container: its output. ServerFailed with what it said."""
        done = self._container.exec(["rabbitmqctl", "--quiet", *arguments])
        assert isinstance(done.output, bytes)  # neither streamed nor split
        text = done.output.decode(errors="replace")
        if done.exit_code != 0:
            raise ServerFailed("rabbitmqctl", f"{' '.join(arguments[:1])}: {text.strip()}")
        return text

    def import_definitions(self, file: Path) -> None:
        """Users, permissions, topic permissions, exchanges and queues from a definitions file."""
        inside = "/tmp/definitions.json"  # noqa: S108 - in the container, which is ours alone
        self._container.copy_into_container(file, inside)
        self.ctl("import_definitions", inside)


def answers() -> bool:
    """Whether testcontainers is installed and a Docker engine answers."""
    if importlib.util.find_spec("testcontainers") is None or not _engine_listens():
        return False
    from docker.errors import DockerException
    from testcontainers.core.docker_client import DockerClient

    try:
        DockerClient()
    except DockerException:
        return False
    return True


def _engine_listens() -> bool:
    """A look at the engine's socket, in a millisecond; Docker's client would leave one open."""
    host = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    if host.scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as engine:
        try:
            engine.connect(host.path)
        except OSError:
            return False
    return True


def postgres(*, port: int | None = None, fsync: bool = True) -> DockerServer:
    """A Postgres of the newest major; its data goes with it."""
    from testcontainers.core.container import DockerContainer

    used, password = port or free_port(), secrets.token_urlsafe(18)
    container = (
        DockerContainer(POSTGRES_IMAGE)
        .with_bind_ports(5432, used)
        .with_envs(POSTGRES_USER=USER, POSTGRES_PASSWORD=password, POSTGRES_DB="postgres")
        .with_command(["-c", f"fsync={'on' if fsync else 'off'}", "-c", "max_connections=200"])
    )
    url = f"postgresql://{USER}:{password}@127.0.0.1:{used}/postgres"
    _start(container, used, speaks_postgres)
    return DockerServer(url, used, container, speaks_postgres)


def rabbitmq(*, port: int | None = None) -> DockerRabbitmq:
    """A RabbitMQ of the newest major; its data goes with it."""
    from testcontainers.core.container import DockerContainer

    used, password = port or free_port(), secrets.token_urlsafe(18)
    container = (
        DockerContainer(RABBITMQ_IMAGE)
        .with_bind_ports(5672, used)
        .with_envs(RABBITMQ_DEFAULT_USER=USER, RABBITMQ_DEFAULT_PASS=password)
    )
    url = f"amqp://{USER}:{password}@127.0.0.1:{used}/"
    _start(container, used, speaks_amqp)
    return DockerRabbitmq(url, used, container, speaks_amqp)


def _start(container: "DockerContainer", port: int, speaks: Callable[[int], bool]) -> None:
    container.start()
    try:
        _wait(speaks, port, container.image)
    except ServerFailed:
        container.stop()
        raise


def _wait(speaks: Callable[[int], bool], port: int, image: str) -> None:
    until = time.monotonic() + START_S
    while not speaks(port):
        if time.monotonic() > until:
            raise ServerFailed(image, f"was not ready within {START_S:g} s")
        time.sleep(0.1)
