"""One process for everything but Postgres: `python -m amends_orchestrator.cli.embedded MODULE…`.

The child of `amends dev`, and of `amends demo` where there is no RabbitMQ. It imports the modules
(or the .py files of a folder), runs the participants in them over the in-process broker, registers
their plans, and serves REST and page. Messages in flight go with the process, by design: outbox,
idempotency keys and wake-ups make that harmless.
"""

import asyncio
import importlib
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from amends_contracts.documents import definition_digest, dump_definition
from amends_contracts.plan import Plan
from amends_contracts.topology import Topology
from amends_orchestrator.cli import output, service
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.plan_source import from_plan, import_file, import_module, plans_in
from amends_orchestrator.cli.serve import LOG_FORMAT, explained, read_settings
from amends_orchestrator.settings import Settings
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.transport.memory import (
    MemoryBroker,
    MemoryParticipantTransport,
    MemoryTransport,
)

log = logging.getLogger("amends")

NOT_CODE = ("test_", "_", "conftest")


class Runtime(Protocol):
    """What runs a participant; made by amends-participants, which is not imported here."""

    def run(self) -> Awaitable[None]: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Code:
    """The user's code: its participants and its plans."""

    participants: tuple[Any, ...]
    plans: tuple[Plan[Any], ...]


def main(arguments: Sequence[str]) -> int:
    """The exit code; what is wrong with the user's code is said on stderr."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        asyncio.run(run(arguments))
    except CliError as error:
        output.print_error(error, as_json=False)
        return int(error.exit_code)
    return 0


async def run(references: Sequence[str]) -> None:
    """Run the code that these modules, files and folders hold until a signal."""
    code = find_code(references)
    settings = read_settings({})
    broker = MemoryBroker()
    transport = MemoryTransport(broker, settings.topology, partitions=settings.partitions)
    with explained():
        async with service.assembled(settings, transport) as parts:
            await _register(code.plans, parts.definitions)
            async with _running(code.participants, broker, settings):
                await service.run(parts, settings)


def find_code(references: Sequence[str]) -> Code:
    """Import and look for participants and plans; tests are left alone."""
    modules: list[ModuleType] = []
    for reference in references:
        path = Path(reference)
        if path.is_dir():
            files = sorted(f for f in path.glob("*.py") if not f.name.startswith(NOT_CODE))
            modules += [import_file(file) for file in files]
        else:
            modules.append(import_file(path) if path.suffix == ".py" else import_module(reference))
    participants: dict[int, Any] = {}
    plans: dict[int, Plan[Any]] = {}
    for module in modules:
        participants |= {id(v): v for v in vars(module).values() if _is_participant(v)}
        plans |= {id(plan): plan for plan in plans_in(module)}
    if not participants and not plans:
        raise CliError(
            f"No plan and no participant in {', '.join(references)}.",
            "`amends new saga NAME` writes a folder with both.",
            exit_code=Exit.USAGE,
        )
    return Code(tuple(participants.values()), tuple(plans.values()))


async def _register(plans: Sequence[Plan[Any]], definitions: Definitions) -> None:
    """Register the plans. One that was edited gets the next version: that is what trying is."""
    for plan in plans:
        source = from_plan(plan)
        findings = source.verify()
        if findings:
            raise CliError("\n".join(f"{f.file}:{f.line}: {f.reason}" for f in findings))
        definition = source.definition
        while True:
            document = dump_definition(definition)
            said = await definitions.register(document, definition_digest(definition))
            if said != "conflict":
                break
            definition = definition.model_copy(update={"version": definition.version + 1})
        log.info("%s@%d is registered", definition.name, definition.version)


@asynccontextmanager
async def _running(
    participants: Sequence[Any], broker: MemoryBroker, settings: Settings
) -> AsyncGenerator[None]:
    """The participants' runtimes, each over the same broker; drained at the end."""
    url = settings.database_url.get_secret_value()
    runtimes = [await runtime_of(app, broker, settings.topology, url) for app in participants]
    async with serving(runtimes):
        yield


@asynccontextmanager
async def serving(runtimes: Sequence[Runtime]) -> AsyncGenerator[None]:
    """They run; drained at the end."""
    tasks = [asyncio.ensure_future(runtime.run()) for runtime in runtimes]
    try:
        yield
    finally:
        for runtime in runtimes:
            runtime.stop()
        await asyncio.gather(*tasks)


async def runtime_of(
    app: Any, broker: MemoryBroker, topology: Topology, database_url: str, **more: Any
) -> Runtime:
    """A participant over the in-process broker, its tables made; `more` settings of its own."""
    # By name: the orchestrator does not depend on amends-participants, only this mode uses both.
    sdk: Any = importlib.import_module("amends_participants.runtime")
    store: Any = importlib.import_module("amends_participants.barrier.store")
    database: Any = importlib.import_module("amends_participants.runtime.database")
    chosen = sdk.ParticipantSettings(database_url=database_url, prefix=topology.prefix, **more)
    opened = database.Database.connect(chosen, app.service)
    async with opened.engine.begin() as connection:
        await store.create_tables(connection)
    await opened.close()
    transport = MemoryParticipantTransport(broker, topology)
    return sdk.Runtime(app, transport, chosen)


def _is_participant(value: Any) -> bool:
    return any(kind.__name__ == "Participant" for kind in type(value).__mro__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
