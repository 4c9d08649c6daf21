"""compose.yaml as it stands, as processes: its commands, its environment, its users.

Everything a container is given is taken from the file; what is replaced are the addresses of the
servers, and the images by this checkout's environment.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import httpx
import pytest
from aiormq.exceptions import ChannelAccessRefused

from amends_contracts.messages import Lifecycle
from amends_contracts.topology import Topology
from amends_orchestrator.local import broker_users, postgres, servers
from amends_orchestrator.local.ports import free_port
from amends_participants import Amends
from deploy.composed import ROOT, SERVICES, command_of, environment, environment_of
from telemetry.otlp_receiver import otlp_receiver

PROGRAMS = Path(sys.executable).parent
DEADLINE_S = 120.0
TRIP = {"traveller": "ada", "to": "Lisbon", "nights": 2, "email": "ada@example.com"}
ORCHESTRATOR_USER = "orchestrator"
CLIENT_VERBS = r"^(start|cancel|signal|decide|undo|enlist\..*)$"
CLIENT_RIGHTS = {
    "configure": r"^amends\.client\..*$",
    "write": r"^amends\.(client\..*|control)$",
    "read": r"^amends\.(client\..*|events)$",
}
WAITING = """
{"name": "wait", "version": 1, "events": true, "steps": [
  {"id": "wait", "kind": "action", "command": "nobody.waits", "input": {}, "compensation": {}}
]}
"""
"""A saga whose participant is not there."""

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@dataclass
class Composed:
    """The services of compose.yaml as processes in a folder."""

    folder: Path
    addresses: Mapping[str, str]
    """What compose calls a server, and where it is here."""
    api_url: str
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list["subprocess.Popen[bytes]"])

    def env(self, name: str) -> dict[str, str]:
        """The environment of a service, beside what the image sets."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("AMENDS_", "OTEL_"))}
        image = {"PYTHONPATH": str(ROOT / "examples")} if name in SERVICES else {}
        return ours | image | environment_of(name, self.addresses)

    def once(self, name: str, *instead: str, **more: str) -> str:
        """`docker compose run`: a service's command to its end, or one in its stead."""
        command = [*instead] or command_of(name)
        done = subprocess.run(
            [PROGRAMS / command[0], *command[1:]],
            cwd=self.folder,
            env=self.env(name) | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self, name: str) -> None:
        """Start a service."""
        command = command_of(name)
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(
                    [PROGRAMS / command[0], *command[1:]],
                    cwd=self.folder,
                    env=self.env(name),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def down(self) -> list[int]:
        """SIGTERM to all, as docker does; their exit codes."""
        for process in self._running:
            process.terminate()
        codes = [process.wait(DEADLINE_S) for process in self._running]
        self._running.clear()
        return codes

    def logs(self) -> str:
        """What the services say."""
        return "\n".join(f.read_text()[-3000:] for f in sorted(self.folder.glob("*.log")))

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait; a service that ended will not get better."""
        end = time.monotonic() + DEADLINE_S
        while not holds():
            assert all(process.poll() is None for process in self._running), self.logs()
            assert time.monotonic() < end, f"waited for {what}\n{self.logs()}"
            time.sleep(0.1)


@contextmanager
def composed(folder: Path, database: str, broker: str, jaeger: str) -> Generator[Composed]:
    """The services beside servers at `host:port` each, all ended at the end."""
    port = free_port()
    orchestrator = environment_of("orchestrator", {})
    addresses = {
        "@postgres:5432": f"@{database}",
        "@rabbitmq:5672": f"@{broker}",
        "http://jaeger:4317": jaeger,
        orchestrator["AMENDS_API_PORT"]: str(port),
    }
    made = Composed(folder, addresses, f"http://127.0.0.1:{port}")
    try:
        yield made
    finally:
        made.down()


def place(url: str) -> str:
    """The host:port of a URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def make_databases(url: str) -> None:
    """What the Postgres image does with the script that compose mounts."""
    admin = urlsplit(url)
    env = {
        **environment("database"),
        "PGHOST": admin.hostname or "",
        "PGPORT": str(admin.port),
        "PGPASSWORD": admin.password or "",
        "POSTGRES_USER": admin.username or "",
        "PATH": f"{postgres.programs()}{os.pathsep}{os.environ['PATH']}",
    }
    subprocess.run([ROOT / "deploy/postgres/databases.sh"], env=env, check=True)


def test_what_compose_starts_books_trips(
    own_postgres: servers.Server, urls: Mapping[str, str], tmp_path: Path
) -> None:
    """Its commands with its environment, under its users' permissions: booked, and undone."""
    make_databases(own_postgres.url)
    at = (place(own_postgres.url), place(urls[ORCHESTRATOR_USER]))
    with otlp_receiver() as receiver, composed(tmp_path, *at, receiver.endpoint) as compose:
        compose.once("migrate")
        made = compose.once(
            "migrate", "amends", "keys", "create", "me", "--scope", "admin", "--json"
        )
        for name in ("orchestrator", *SERVICES):
            compose.up(name)
        key = json.loads(made)["key"]
        with httpx.Client(
            base_url=compose.api_url,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=60,
        ) as rest:
            compose.until(lambda: heard_of(rest) == set(SERVICES), "every service's hello")
            at_service = {"AMENDS_API_URL": compose.api_url, "AMENDS_API_KEY": key}
            plan = str(ROOT / "examples/trip/book_trip.py")
            compose.once("migrate", "amends", "register", plan, **at_service)
            booked, undone = ended(rest, "1", TRIP), ended(rest, "2", TRIP | {"to": "Venice"})
        assert (booked, undone) == ("completed", "compensated"), compose.logs()
        assert compose.down() == [0] * 5, compose.logs()
        assert {span.service for span in receiver.spans()} == {"orchestrator", *SERVICES}


def heard_of(rest: httpx.Client) -> set[str]:
    """The services that have said hello; none while the orchestrator is not there."""
    try:
        answer = rest.get("/v1/participants")
    except httpx.HTTPError:
        return set()
    return {i["service"] for i in answer.json()["items"]} if answer.is_success else set()


def ended(rest: httpx.Client, key: str, trip: Mapping[str, object]) -> str:
    """How a trip ends."""
    start = {"definition": "book-trip", "key": key, "input": trip}
    saga_id = rest.post("/v1/sagas", json=start).raise_for_status().json()["saga_id"]
    view: dict[str, str] = {"status": "running"}
    until = time.monotonic() + DEADLINE_S
    while view["status"] not in {"completed", "compensated", "stuck"}:
        assert time.monotonic() < until, view
        view = rest.get(f"/v1/sagas/{saga_id}", params={"wait": 30}).json()
    return view["status"]


async def test_a_client_needs_no_more_than_the_documented_rights(
    own_postgres: servers.Server,
    managed_rabbitmq: servers.Broker,
    urls: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """A client's broker user, held to docs/wire.md, starts, cancels and listens."""
    page = (ROOT / "docs/wire.md").read_text()
    assert [r for r in [*CLIENT_RIGHTS.values(), CLIENT_VERBS] if f"`{r}`" not in page] == []
    await asyncio.to_thread(make_databases, own_postgres.url)
    url = await asyncio.to_thread(shop_url, managed_rabbitmq)
    plan = tmp_path / "plan.json"
    plan.write_text(WAITING)
    at = (place(own_postgres.url), place(urls[ORCHESTRATOR_USER]), "http://127.0.0.1:9")
    with composed(tmp_path, *at) as compose:
        await asyncio.to_thread(compose.once, "migrate")
        make = ("amends", "keys", "create", "me", "--scope", "admin", "--json")
        key = json.loads(await asyncio.to_thread(compose.once, "migrate", *make))["key"]
        compose.up(ORCHESTRATOR_USER)
        await asyncio.to_thread(compose.until, lambda: is_ready(compose.api_url), "the service")
        at_service = {"AMENDS_API_URL": compose.api_url, "AMENDS_API_KEY": key}
        register = ("amends", "register", str(plan))
        await asyncio.to_thread(compose.once, "migrate", *register, **at_service)
        async with (
            Amends(url, prefix="amends", timeout_s=30) as amends,
            asyncio.timeout(DEADLINE_S),
        ):
            hearing = asyncio.create_task(first_event(amends))
            for n in itertools.count():
                run = await amends.start("wait", {}, key=f"order-{n}")
                assert run.created
                await run.cancel("changed their mind")
                if hearing.done():
                    break
                await asyncio.sleep(0.2)
            assert (await hearing).definition == "wait"
        with pytest.raises(ChannelAccessRefused):
            await say(url, "hello")
    await asyncio.to_thread(managed_rabbitmq.ctl, "delete_user", "shop")


def shop_url(broker: servers.Broker) -> str:
    """Where a new client connects, who has the documented rights and no others."""
    url = broker_users.add_user(broker, "shop", **CLIENT_RIGHTS)
    broker_users.permit_topic(broker, "shop", Topology("amends").control, write=CLIENT_VERBS)
    return url


def is_ready(api_url: str) -> bool:
    """Whether the orchestrator serves."""
    try:
        return httpx.get(f"{api_url}/readyz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


async def first_event(amends: Amends) -> Lifecycle:
    """The first that is heard of the definition."""
    events = amends.events("wait")
    try:
        return await anext(events)
    finally:
        await events.aclose()


async def say(url: str, verb: str) -> None:
    """Publish a verb with a confirm."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        control = await channel.get_exchange(Topology("amends").control, ensure=False)
        await control.publish(aio_pika.Message(b"{}"), verb, mandatory=False)
