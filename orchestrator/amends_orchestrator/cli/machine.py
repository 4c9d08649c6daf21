"""Everything on this machine: servers, orchestrators and an example's participants, supervised.

`amends up` and `amends demo` are two ways to look at it. What runs where is written to
`.amends/up.json` for scripts, and rewritten whenever a pid changes.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from amends_migrations import upgrade
from amends_orchestrator.cli import schema
from amends_orchestrator.cli.address import UP_FILE, UP_FOLDER, Address
from amends_orchestrator.cli.claim import Claim
from amends_orchestrator.cli.example import Example, examples_folder
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.plan_source import load, on_path
from amends_orchestrator.cli.rest import Rest
from amends_orchestrator.cli.supervisor import Event, Supervisor, environment
from amends_orchestrator.local import folders, servers
from amends_orchestrator.local.ports import bindable, free_port
from amends_orchestrator.local.processes import Program, ServerFailed, tail

READY_S = 120.0
READY_POLL_S = 0.1
ENGINE_DATABASE = "amends"
IN_PROCESS = "memory://"
"""Stands where a broker's address is asked for."""
Say = Callable[[str], None]


@dataclass
class Machine:
    """Start it, look after it with `poll`, and end it: `end` leaves nothing behind but logs."""

    folder: Path
    """`.amends` is made in here."""
    example: Example | None
    port: int | None = None
    orchestrators: int = 1
    keep: bool = False
    """Whether the servers' data stays for the next time."""
    code: tuple[str, ...] = ()
    """Modules, files or folders to run embedded."""
    embedded: bool = False
    """One process with the in-process transport in place of broker and processes."""
    with_key: bool = True
    """Whether REST and page ask for a key; without, whoever is on this machine may do all."""
    extra_env: dict[str, str] = field(default_factory=dict[str, str])
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """Where AMENDS_DATABASE_URL and AMENDS_BROKER_URL may name servers that are there already."""
    say: Say = lambda _: None
    supervisor: Supervisor = field(default_factory=Supervisor)
    api_url: str = ""
    api_key: str | None = None
    _database: servers.Server | None = None
    _broker: servers.Broker | None = None
    _claimed: Claim | None = None

    @property
    def database(self) -> servers.Server:
        """The Postgres that runs."""
        assert self._database is not None
        return self._database

    @property
    def broker(self) -> servers.Broker:
        """The RabbitMQ that runs."""
        assert self._broker is not None
        return self._broker

    @property
    def home(self) -> Path:
        """Logs, up.json and, with `keep`, data."""
        return self.folder / UP_FOLDER

    @property
    def up_file(self) -> Path:
        """What scripts read."""
        return self.home / UP_FILE

    @property
    def database_url(self) -> str:
        """The orchestrator's database."""
        return schema.with_database(self.database.url, ENGINE_DATABASE)

    @property
    def broker_url(self) -> str:
        """The broker."""
        return self.broker.url

    def start(self) -> None:
        """Bring everything up; CliError with what to do when something cannot be had."""
        self.start_servers()
        self.say("start the programs")
        self.start_programs()
        self.wait_ready()
        if self.example:
            self.register_example()
        self.write_up()

    def end(self) -> None:
        """End everything, participants and orchestrators before the servers."""
        self.supervisor.end()
        for server in (self._broker, self._database):
            if server is not None:
                server.stop()
        self._broker = self._database = None
        if self._claimed is not None:
            self.up_file.unlink(missing_ok=True)
            self._claimed.release()
            self._claimed = None

    def poll(self) -> list[Event]:
        """Restart what died, on the same data and port; up.json follows."""
        events = [*self._poll_servers(), *self.supervisor.poll()]
        if events:
            self.write_up()
        return events

    def _poll_servers(self) -> Iterator[Event]:
        for name, server in (("postgres", self._database), ("rabbitmq", self._broker)):
            if server is None or server.running:
                continue
            yield Event(name, died=True)
            server.restart()
            yield Event(name, died=False)

    @property
    def page_url(self) -> str:
        """The live page."""
        return f"{self.api_url}/console"

    def database_of(self, service: str) -> str:
        """A participant's own database."""
        name = ENGINE_DATABASE if self.embedded else service
        return schema.with_database(self.database.url, name)

    def restart(self, name: str) -> None:
        """End a child in order and start it again, with a log of its own."""
        self.supervisor.stop(name)
        self.log_of(name).unlink(missing_ok=True)
        self.supervisor.start(name)
        self.write_up()

    def hold(self, name: str) -> None:
        """Leave a child that ended as it is, until `restart`."""
        self.supervisor.stop(name)

    def log_of(self, name: str) -> Path:
        """Where a child writes."""
        return self.home / "logs" / f"{name}.log"

    def pids(self) -> dict[str, int]:
        """Every process of it, by name."""
        found = {"up": os.getpid()}
        for server in (self._database, self._broker):
            found |= server.pids if server else {}
        return found | self.supervisor.pids()

    def where(self) -> dict[str, str]:
        """Addresses by name, as they may be printed."""
        found = {"orchestrator": f"page and REST at {self.api_url}"}
        if self._database:
            found["postgres"] = schema.without_password(self.database_url)
        if self._broker:
            found["rabbitmq"] = schema.without_password(self._broker.url)
        return found

    def register_example(self) -> None:
        """Register the example's definition with the service that runs."""
        assert self.example is not None
        with on_path(examples_folder()):
            source = load(self.example.plan)
        with Rest(self.address) as rest:
            rest.post("/v1/definitions", source.document)

    @property
    def address(self) -> Address:
        """Where this machine's service is, with the key."""
        return Address(self.api_url, self.api_key, str(self.up_file))

    def write_up(self) -> None:
        """Replace up.json as a whole; only its owner may read it, for it holds secrets."""
        content = {
            "api_url": self.api_url,
            "api_key": self.api_key,
            "broker_url": self._broker.url if self._broker else None,
            "database_url": self.database_url,
            "pids": self.pids(),
        }
        draft = self.up_file.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self.up_file)

    def wait_ready(self) -> None:
        """Wait until the orchestrator is ready and every participant has said hello."""
        until = time.monotonic() + READY_S
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        with httpx.Client(
            base_url=self.api_url, headers=headers, timeout=5.0, trust_env=False
        ) as client:
            while missing := self._missing(client):
                self._check_alive()
                if time.monotonic() > until:
                    raise CliError(
                        f"Not ready after {READY_S:g} s: {', '.join(missing)}.",
                        f"See {self.home / 'logs'}.",
                        exit_code=Exit.TIMEOUT,
                    )
                time.sleep(READY_POLL_S)

    def _claim(self) -> None:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        self._claimed = Claim.of(self.home)
        self.up_file.unlink(missing_ok=True)
        self.home.chmod(0o711)
        for log in (self.home / "logs").glob("*.log"):
            log.unlink()

    def start_servers(self) -> None:
        """Postgres and RabbitMQ side by side, for the second takes seconds; migrated databases."""
        self._claim()
        if self.port and not bindable(self.port):
            raise CliError(
                f"Port {self.port} is taken.", "Choose another --port.", exit_code=Exit.UNREACHABLE
            )
        data = self.home / "data" if self.keep else None
        self.say("start Postgres" if self.embedded else "start Postgres and RabbitMQ")
        with ThreadPoolExecutor(2) as pool:
            database = pool.submit(
                servers.postgres,
                folder=data and folders.owned(data / "postgres", None, 0o711),
                first=servers.Way.PRIVATE,
                environ=self.environ,
            )
            broker = (
                None
                if self.embedded
                else pool.submit(
                    servers.rabbitmq,
                    folder=data and data / "rabbitmq",
                    first=servers.Way.PRIVATE,
                    environ=self.environ,
                )
            )
        # Both are kept before either may raise, so that `end` ends what runs.
        self._database = database.result() if not database.exception() else None
        if broker is not None:
            self._broker = broker.result() if not broker.exception() else None
            _raise_for(broker)
        _raise_for(database)
        self.say("migrate")
        self._prepare_databases()

    def _prepare_databases(self) -> None:
        services = list(self.example.services) if self.example and not self.embedded else []
        asyncio.run(schema.create_databases(self.database.url, [ENGINE_DATABASE, *services]))
        upgrade(self.database_url)
        if self.with_key:
            self.api_key = asyncio.run(schema.create_key(self.database_url, "amends up"))

    def start_programs(self) -> None:
        """Start orchestrators and participants."""
        token = (
            folders.secret(self.home / "data", "token") if self.keep else secrets.token_urlsafe(32)
        )
        port = self.port or free_port()
        self.api_url = f"http://127.0.0.1:{port}"
        engine = {
            "AMENDS_DATABASE_URL": self.database_url,
            "AMENDS_TOKEN_SECRETS": token,
            "AMENDS_API_HOST": "127.0.0.1",
            "AMENDS_API_PORT": str(port),
        }
        if self.embedded:
            self._start_embedded(engine)
        else:
            self._start_processes(engine)

    def _start_processes(self, engine: dict[str, str]) -> None:
        for n in range(self.orchestrators):
            name = "orchestrator" if n == 0 else f"orchestrator-{n + 1}"
            own = engine if n == 0 else engine | {"AMENDS_API_PORT": str(free_port())}
            own = own | {"AMENDS_BROKER_URL": self.broker_url}
            self._run(name, ["amends_orchestrator.cli.main", "serve"], own)
        if self.example:
            for service, app in self.example.services.items():
                own = {
                    "AMENDS_BROKER_URL": self.broker_url,
                    "AMENDS_DATABASE_URL": self.database_of(service),
                    "PYTHONPATH": _path_with(examples_folder()),
                }
                self._run(service, ["amends_participants", app], own)

    def _start_embedded(self, engine: dict[str, str]) -> None:
        code, own = list(self.code), engine | {"AMENDS_BROKER_URL": IN_PROCESS}
        if self.example:
            named = [self.example.plan, *self.example.services.values()]
            code += [reference.partition(":")[0] for reference in named]
            own["PYTHONPATH"] = _path_with(examples_folder())
        self._run("orchestrator", ["amends_orchestrator.cli.embedded", *code], own)

    def _run(self, name: str, module: list[str], own: dict[str, str]) -> None:
        env = {"PYTHONUNBUFFERED": "1", **self.extra_env, **own}
        command = [sys.executable, "-m", *module]
        self.supervisor.add(self._program(name, command, env))

    def _program(self, name: str, command: list[str], own: dict[str, str]) -> Program:
        return Program(
            name=name,
            command=command,
            env=environment(os.environ, own),
            folder=self.folder,
            log=self.log_of(name),
        )

    def _missing(self, client: httpx.Client) -> list[str]:
        """What has not shown yet that it is ready."""
        try:
            if not client.get("/readyz").is_success:
                return ["orchestrator"]
            items = client.get("/v1/participants").raise_for_status().json()["items"]
        except httpx.HTTPError:
            return ["orchestrator"]
        wanted = self.example.services if self.example else ()
        return sorted(set(wanted) - {item["service"] for item in items})

    def _check_alive(self) -> None:
        """A program that dies while starting will not get better by being started again."""
        for name, child in self.supervisor.children.items():
            if not child.process.running:
                raise CliError(f"{name} ended while starting:\n{tail(self.log_of(name))}")


def _raise_for(future: Future[Any]) -> None:
    error = future.exception()
    if isinstance(error, servers.NoServer):
        raise CliError(
            f"No {error.what} on this machine.",
            f"{error.remedy}\n  Or work without one: amends dev",
            exit_code=Exit.UNREACHABLE,
        ) from error
    if isinstance(error, ServerFailed):
        raise CliError(str(error), exit_code=Exit.UNREACHABLE) from error
    if isinstance(error, folders.UnreachableFolder):
        raise CliError(str(error), exit_code=Exit.USAGE) from error
    if error is not None:
        raise error


def _path_with(folder: Path) -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(folder), *([inherited] if inherited else [])])
