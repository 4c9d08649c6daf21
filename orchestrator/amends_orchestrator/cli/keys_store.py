"""What `amends keys` does in the database. Loaded only when it does."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from amends_orchestrator.cli import schema
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.core.reviews import ROLE
from amends_orchestrator.engine.ports import BadData
from amends_orchestrator.store.keys import ApiKeys, BadKeyName


@asynccontextmanager
async def _keys(url: str) -> AsyncGenerator[ApiKeys]:
    async with schema.opened(url) as engine:
        yield ApiKeys(engine)


async def create(
    url: str,
    name: str,
    tenant: str,
    scope: str,
    expires_at: datetime | None,
    broker_user: str | None,
    roles: Sequence[str],
) -> str:
    """A new key in plain text."""
    async with _keys(url) as store:
        try:
            return await store.create(
                name,
                tenant,
                scope,
                expires_at=expires_at,
                broker_user=broker_user,
                roles=roles,
            )
        except BadKeyName as error:
            raise CliError(
                f"A key's name does not begin with {ROLE!r}, as roles do.",
                "For a role: amends keys create NAME --scope reviewer --role ROLE",
                exit_code=Exit.USAGE,
            ) from error
        except BadData as error:
            raise CliError(f"Another key has the broker user {broker_user!r}.") from error


async def listed(url: str) -> list[dict[str, Any]]:
    """The valid keys, without their secrets."""
    async with _keys(url) as store:
        return [
            {
                "name": key.name,
                "tenant": key.tenant,
                "scope": str(key.scope),
                "roles": sorted(key.roles),
                "prefix": key.prefix,
                "created_at": key.created_at.isoformat(),
                "expires_at": key.expires_at and key.expires_at.isoformat(),
            }
            for key in await store.list()
        ]


async def revoke(url: str, name: str) -> bool:
    """Whether there was such a key."""
    async with _keys(url) as store:
        return await store.revoke(name)
