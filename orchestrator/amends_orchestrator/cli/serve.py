"""`amends serve`: one orchestrator with REST and page, as a service is run in production."""

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amends_orchestrator.cli.exits import CliError, Exit

if TYPE_CHECKING:
    from amends_orchestrator.settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Address of REST and page (AMENDS_API_HOST).")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Their port (AMENDS_API_PORT).")
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING.")] = "INFO",
) -> None:
    """Run one orchestrator with REST and page, by the settings in `AMENDS_*`, until SIGTERM.

    Waits for database and broker where they are away. Run as many as you like: they share the work.
    """
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
    given = {"api_host": host, "api_port": port}
    try:
        asyncio.run(_serve({k: v for k, v in given.items() if v is not None}))
    except OSError as error:
        raise CliError(
            f"Cannot listen: {error}", "Choose another --port.", exit_code=Exit.UNREACHABLE
        ) from error


async def _serve(given: dict[str, str | int]) -> None:
    from amends_orchestrator.cli import service
    from amends_orchestrator.transport.amqp import AmqpTransport

    settings = read_settings(given)
    transport = AmqpTransport(
        settings.broker_url.get_secret_value(),
        settings.topology,
        partitions=settings.partitions,
        name="amends",
    )
    with explained():
        async with service.assembled(settings, transport) as parts:
            await service.run(parts, settings)


def read_settings(given: dict[str, Any]) -> "Settings":
    """The settings of the environment and these; CliError that names each that is not right."""
    from pydantic import ValidationError

    from amends_orchestrator.settings import Settings

    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = "\n".join(f"AMENDS_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise CliError(wrong, "docs/settings.md has them all.", exit_code=Exit.USAGE) from error


@contextmanager
def explained() -> Generator[None]:
    """What keeps a service from running, as a CliError."""
    from amends_orchestrator.api.guard import BindRefused
    from amends_orchestrator.store.opening import DatabaseUnfit

    try:
        yield
    except (DatabaseUnfit, BindRefused) as error:
        raise CliError(str(error), exit_code=Exit.REFUSED) from error
