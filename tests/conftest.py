"""What every test can ask for: servers, a database of its own, names of its own on the broker.

`postgres_server`, `rabbitmq_server`  one of each per run, private and thrown away at its end
`managed_rabbitmq`                    the same, or a private one if it was given by URL: for `ctl`
`own_postgres`, `own_rabbitmq`        one for the test alone, to be killed and restarted
`database_url`                        an empty database, dropped afterwards
`migrated_database_url`               one with the orchestrator's tables
`broker_url`, `wire_prefix`           the run's broker, and a prefix for the test's queues on it

Tests that use any of them carry the mark `servers`. A server that cannot be had fails the test.
"""

import signal
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from amends_orchestrator.local import servers
from server_fixtures import Databases, Sweeper

# A run in the background of a script inherits that SIGINT is ignored, and so would all that the
# tests start and end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes to make says how busy the machine is, and fails no test.
settings.register_profile("amends", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("amends")

SERVERS = frozenset({"postgres_server", "rabbitmq_server", "own_postgres", "own_rabbitmq"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs servers, before `-m` selects."""
    for item in items:
        if isinstance(item, pytest.Function) and SERVERS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Server]:
    """The run's Postgres. With fsync, as in production: it costs 0.1 ms per commit here."""
    # Private processes before Docker, here and below: they start in a tenth of the time.
    server = servers.postgres(first=servers.Way.PRIVATE)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[servers.Broker]:
    """The run's RabbitMQ."""
    server = servers.rabbitmq(first=servers.Way.PRIVATE)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def managed_rabbitmq(rabbitmq_server: servers.Broker) -> Iterator[servers.Broker]:
    """A RabbitMQ whose users and queues tests may manage with `ctl`, shared by the run."""
    if not isinstance(rabbitmq_server, servers.Given):
        yield rabbitmq_server
        return
    server = servers.rabbitmq(first=servers.Way.PRIVATE, environ={})
    yield server
    server.stop()


@pytest.fixture
def own_postgres() -> Iterator[servers.Server]:
    """A Postgres for this test alone, up in half a second."""
    server = servers.postgres(first=servers.Way.PRIVATE, environ={})
    yield server
    server.stop()


@pytest.fixture
def own_rabbitmq() -> Iterator[servers.Broker]:
    """A RabbitMQ for this test alone, up in five seconds."""
    server = servers.rabbitmq(first=servers.Way.PRIVATE, environ={})
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(postgres_server: servers.Server) -> Iterator[Databases]:
    """Makes and drops databases on the run's Postgres."""
    made = Databases(postgres_server.url)
    yield made
    made.drop_all()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """An empty database for this test alone."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def migrated_database_url(databases: Databases) -> Iterator[str]:
    """A database for this test alone with the orchestrator's tables, cloned in some 40 ms."""
    url = databases.create(template=databases.migrated_template())
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def sweeper(rabbitmq_server: servers.Broker) -> Iterator[Sweeper]:
    """Removes what tests left on the run's broker."""
    made = Sweeper(rabbitmq_server)
    yield made
    made.finish()


@pytest.fixture
def broker_url(rabbitmq_server: servers.Broker) -> str:
    """Where to connect to the run's RabbitMQ, as its administrator."""
    return rabbitmq_server.url


@pytest.fixture
def wire_prefix(sweeper: Sweeper) -> Iterator[str]:
    """A prefix for the names of this test's exchanges and queues, which go after the test."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    yield prefix
    sweeper.later(prefix)
