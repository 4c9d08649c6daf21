"""A broker with the users and permissions of compose.yaml."""

import subprocess
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from amends_orchestrator.local import servers
from deploy.composed import ROOT, USERS, environment, password
from server_fixtures import Sweeper


@pytest.fixture(scope="module")
def urls(
    managed_rabbitmq: servers.Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """Where each user connects, on a broker with the definitions of compose."""
    definitions = tmp_path_factory.mktemp("broker") / "definitions.json"
    start = [ROOT / "deploy/rabbitmq/start", definitions]
    subprocess.run(start, env=environment("broker"), check=True)
    managed_rabbitmq.import_definitions(definitions)
    at = urlsplit(managed_rabbitmq.url).netloc.rpartition("@")[2]
    yield {user: f"amqp://{user}:{password('broker', user)}@{at}/" for user in USERS}
    for user in USERS:
        managed_rabbitmq.ctl("delete_user", user)
    Sweeper(managed_rabbitmq).now(["amends"])
