"""`amends-participant module:app`: runs one or several participants in this process.

Everything that can be wrong at the start is said in one sentence with what to do, on stderr.
"""

import argparse
import asyncio
import importlib
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError
from sqlalchemy.exc import ProgrammingError

from amends_amqp.link import TopologyConflict
from amends_contracts.command import CommandError
from amends_contracts.topology import Topology
from amends_participants.app import Participant
from amends_participants.barrier import store
from amends_participants.runtime import ParticipantSettings, Runtime
from amends_participants.runtime.database import Database, sqlstate_of
from amends_participants.runtime.health import Health
from amends_participants.signatures import BadHandler
from amends_participants.trace import Tracing
from amends_participants.transport_amqp import AmqpTransport

log = logging.getLogger("amends_participants")

EXIT_FAILED = 1
EXIT_USAGE = 2
INSUFFICIENT_PRIVILEGE = "42501"


class CannotRun(Exception):
    """What keeps a participant from running; the text says what to do."""

    def __init__(self, text: str, *, code: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `amends-participant`."""
    parser = argparse.ArgumentParser(
        prog="amends-participant",
        description="Run the participants of a service until SIGTERM.",
        epilog="Settings: AMENDS_BROKER_URL, AMENDS_DATABASE_URL, AMENDS_PREFIX,"
        " AMENDS_CONCURRENCY, AMENDS_HEALTH_PORT and further AMENDS_* of docs/participants.md.",
    )
    parser.add_argument("apps", nargs="+", metavar="module:app", help="for example flights:app")
    parser.add_argument(
        "--create-tables", action="store_true", help="create the barrier's tables and exit"
    )
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO (default), WARNING")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        apps = [load(name) for name in options.apps]
        if options.create_tables:
            asyncio.run(_create_tables(_settings(), apps))
        else:
            run_apps(apps)
    except CannotRun as error:
        _exit(str(error), error.code)


def run_apps(apps: Sequence[Participant]) -> None:
    """Run these until SIGTERM or SIGINT, by the settings in `AMENDS_*`. Raises CannotRun."""
    asyncio.run(serve(apps, _settings()))


@asynccontextmanager
async def served(
    apps: Sequence[Participant], settings: ParticipantSettings | None = None
) -> AsyncGenerator[None]:
    """Run these beside what the caller does in this loop; drained on leaving."""
    stopping = asyncio.Event()
    serving = asyncio.create_task(serve(apps, settings or _settings(), stopping=stopping))
    try:
        yield
    finally:
        stopping.set()
        await serving


async def serve(
    apps: Sequence[Participant],
    settings: ParticipantSettings,
    *,
    tracing: Tracing | None = None,
    stopping: asyncio.Event | None = None,
) -> None:
    """Run these in the running loop until `stopping`, else SIGTERM or SIGINT.

    They share nothing but the loop. Raises CannotRun.
    """
    if settings.broker_url is None:
        raise CannotRun("set AMENDS_BROKER_URL, for example amqp://guest:guest@localhost:5672/")
    try:
        for app in apps:
            app.check()
    except BadHandler as error:
        raise CannotRun(str(error), code=EXIT_USAGE) from error
    await _create_tables(settings, apps, only_missing=True)
    url, topology = settings.broker_url.get_secret_value(), Topology(settings.prefix)
    with _traced(apps[0].service, tracing) as traces:
        runtimes = [
            Runtime(app, AmqpTransport(url, topology, name=app.service), settings, tracing=traces)
            for app in apps
        ]
        async with Health(settings, lambda: all(r.is_ready() for r in runtimes)):
            await _run_all(runtimes, stopping or stop_on_signals())


async def _run_all(runtimes: Sequence[Runtime], stopping: asyncio.Event) -> None:
    """Until all have stopped; one that cannot go on ends the others."""

    async def stop() -> None:
        await stopping.wait()
        for runtime in runtimes:
            runtime.stop()

    try:
        async with asyncio.TaskGroup() as group:
            stopper = group.create_task(stop())
            running = [group.create_task(runtime.run()) for runtime in runtimes]
            await asyncio.wait(running)
            stopper.cancel()
    except* TopologyConflict as errors:
        raise CannotRun(
            f"{errors.exceptions[0]}; instances of one service must declare the same: remove"
            " the queue, once it is empty, and start again"
        ) from None


@contextmanager
def _traced(service: str, given: Tracing | None) -> Generator[Tracing | None]:
    """Traces over OTLP, where the standard OTEL_* variables ask for them."""
    from amends_participants import otel

    if given is not None or not otel.is_wanted():
        yield given
        return
    try:
        tracing = otel.OtelTracing(service)
    except ImportError:
        raise CannotRun(
            "OTEL_* asks for traces, but OpenTelemetry is not installed: pip install"
            " 'amends-participants[otel]', or set OTEL_SDK_DISABLED=true",
            code=EXIT_USAGE,
        ) from None
    try:
        yield tracing
    finally:
        tracing.close()


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def load(name: str) -> Participant:
    """The Participant at `module:app`; CannotRun says what is missing."""
    module_name, _, attribute = name.partition(":")
    attribute = attribute or "app"
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise CannotRun(
            f"no module {module_name!r} (from {name!r}); run this where it can be imported, or"
            " set PYTHONPATH",
            code=EXIT_USAGE,
        ) from None
    except (BadHandler, CommandError) as error:
        raise CannotRun(str(error), code=EXIT_USAGE) from error
    app = getattr(module, attribute, None)
    if isinstance(app, Participant):
        return app
    found = sorted(k for k, v in vars(module).items() if isinstance(v, Participant))
    hint = f"it has {', '.join(found)}" if found else "it has no Participant at all"
    raise CannotRun(f"{module_name!r} has no Participant {attribute!r}; {hint}", code=EXIT_USAGE)


async def _create_tables(
    settings: ParticipantSettings, apps: Sequence[Participant], *, only_missing: bool = False
) -> None:
    """Create what is missing. The first call to the database: its refusals are explained."""
    if settings.database_url is None:
        raise CannotRun(
            "set AMENDS_DATABASE_URL to this service's own database, for example"
            " postgresql://user:password@localhost:5432/flights"
        )
    database = Database.connect(settings, apps[0].service)
    where = database.engine.url.render_as_string(hide_password=True)
    try:
        await _until_there(database, where)
        async with database.engine.begin() as conn:
            if only_missing and (not settings.create_tables or await store.tables_there(conn)):
                return
            await store.create_tables(conn)
    except ProgrammingError as error:
        if sqlstate_of(error) != INSUFFICIENT_PRIVILEGE:
            raise
        raise CannotRun(
            f"the barrier's tables are missing at {where} and this user may not create them: run"
            " `amends-participant --create-tables` once as one who may, or take"
            " amends_participants/barrier/schema.sql into your migrations"
        ) from None
    finally:
        await database.close()


async def _until_there(database: Database, where: str) -> None:
    """Wait for the database; what waiting will not mend is refused at once."""

    async def nothing(_: object) -> None:
        return None

    try:
        await database.transact(nothing)
    except Exception as error:
        text = str(error.__cause__ or error).partition("\n")[0]
        raise CannotRun(f"cannot use the database at {where}: {text}") from error


def _settings() -> ParticipantSettings:
    try:
        return ParticipantSettings()
    except ValidationError as error:
        said = "; ".join(
            f"AMENDS_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise CannotRun(said, code=EXIT_USAGE) from None


def _exit(text: str, code: int) -> NoReturn:
    sys.stderr.write(f"amends-participant: {text}\n")
    raise SystemExit(code)
