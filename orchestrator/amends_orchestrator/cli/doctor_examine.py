"""All checks of `amends doctor` in their order. Loaded only when it runs: it needs everything."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from amends_contracts.topology import PARTITIONS_DEFAULT, Topology
from amends_orchestrator.cli import doctor_broker, doctor_database
from amends_orchestrator.cli.address import find_broker, find_database, find_service, find_up
from amends_orchestrator.cli.exits import CliError
from amends_orchestrator.cli.finding import Finding, Level, bad, note, ok
from amends_orchestrator.cli.rest import Rest
from amends_orchestrator.settings import Settings


async def examine(
    database_url: str | None, broker_url: str | None, url: str | None
) -> list[Finding]:
    """All findings, those of what can be reached."""
    findings = [_settings()]
    database = find_database(database_url)
    services: dict[str, bool] = {}
    try:
        findings += [finding async for finding in doctor_database.check(database)]
        if _migrated(findings):
            services = dict(await doctor_database.services_in_use(database))
    except CliError as error:
        findings.append(bad("database", error.what, error.do or "Is it running?"))
    broker = find_broker(broker_url)
    if broker is None:
        findings.append(ok("broker", "none: one process with the in-process transport"))
    else:
        topology = Topology(os.environ.get("AMENDS_PREFIX", "amends"))
        partitions = int(os.environ.get("AMENDS_PARTITIONS", PARTITIONS_DEFAULT))
        checks = doctor_broker.check(broker, topology, partitions, services)
        findings += [finding async for finding in checks]
    findings.append(await asyncio.to_thread(_rest, url))
    return findings


def _migrated(findings: Sequence[Finding]) -> bool:
    return any(f.check == "migrations" and f.level is Level.OK for f in findings)


def _settings() -> Finding:
    """Whether an orchestrator started here would take its settings."""
    if not any(name.startswith("AMENDS_") for name in os.environ) and find_up():
        return ok("settings", "from up.json")
    from_environment: dict[str, Any] = {}
    try:
        Settings(**from_environment)
    except ValidationError as error:
        wrong = "; ".join(f"AMENDS_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        missing = all(e["type"] == "missing" for e in error.errors())
        do = "docs/settings.md has them all."
        return note("settings", wrong, do) if missing else bad("settings", wrong, do)
    return ok("settings", "as docs/settings.md says")


def _rest(url: str | None) -> Finding:
    try:
        address = find_service(url)
        with Rest(address) as rest:
            rest.get("/readyz")
    except CliError as error:
        return bad("service", error.what, error.do or "See its log.")
    return ok("service", f"ready at {address.url}")
