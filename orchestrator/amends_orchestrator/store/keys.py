"""API keys: made once, shown once, kept as a hash; each names a tenant and a scope.

A key reads `amends_<prefix>_<256 random bits>`. Being random it needs no slow hash: SHA-256 is
enough, and checking one costs nothing. What a scope includes is said by the API.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_orchestrator.core.reviews import EVERYBODY, ROLE
from amends_orchestrator.store import queries
from amends_orchestrator.store.database import Database

SQL: Final = queries.load("admin")
_MARK: Final = "amends"
_PREFIX_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_NO_HASH: Final = bytes(32)


class Scope(StrEnum):
    """What a key may do: viewer < starter < operator < admin, and reviewer beside them."""

    VIEWER = "viewer"
    STARTER = "starter"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who speaks: the name of the key, its tenant and its scope."""

    name: str
    tenant: str
    scope: Scope
    roles: frozenset[str] = frozenset()
    """Which reviews for `role:<role>` it may decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A valid key, without its secret."""

    prefix: str
    name: str
    tenant: str
    scope: Scope
    broker_user: str | None
    created_at: datetime
    expires_at: datetime | None
    roles: frozenset[str] = frozenset()


class BadKeyName(ValueError):
    """The name would pass for a role, and its key for whoever has that role."""


class ApiKeys:
    """Table `api_key`. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def create(
        self,
        name: str,
        tenant: str,
        scope: str,
        *,
        expires_at: datetime | None = None,
        broker_user: str | None = None,
        roles: Sequence[str] = (),
    ) -> str:
        """A new key in plain text: the only time it can be seen.

        `broker_user` lets that user of the broker speak with this tenant and scope. ValueError for
        an unknown scope, BadKeyName for a name that reads like a role, BadData where another key
        has the broker user.
        """
        if name.startswith(ROLE):
            raise BadKeyName(name)
        prefix = secrets.token_hex(_PREFIX_BYTES)
        plaintext = f"{_MARK}_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        await self._database.fetch(
            SQL["create_key"],
            prefix=prefix,
            hash=_hash(plaintext),
            name=name,
            tenant=tenant,
            scope=Scope(scope).value,
            broker_user=broker_user,
            expires_at=expires_at,
            roles=sorted(set(roles)),
        )
        return plaintext

    async def check(self, plaintext: str) -> Principal | None:
        """Who holds this key; None if it is unknown, expired or revoked.

        The time it takes tells nothing about the secret.
        """
        prefix = prefix_of(plaintext)
        row = await self._database.row(SQL["find_key"], prefix=prefix or "")
        kept = _NO_HASH if row is None else row["hash"]
        matches = hmac.compare_digest(kept, _hash(plaintext))
        if row is None or not matches:
            return None
        return _principal(row)

    async def list(self) -> Sequence[KeyRow]:
        """All keys that are valid, of every tenant."""
        rows = await self._database.fetch(SQL["keys"])
        return [
            KeyRow(
                prefix=r["prefix"],
                name=r["name"],
                tenant=r["tenant"],
                scope=Scope(r["scope"]),
                broker_user=r["broker_user"],
                created_at=r["created_at"],
                expires_at=r["expires_at"],
                roles=_roles(r),
            )
            for r in rows
        ]

    async def revoke(self, which: str) -> bool:
        """End every key of this name or prefix, or this very key; False if there is none."""
        named = prefix_of(which) or which
        return bool(await self._database.fetch(SQL["revoke_key"], which=named))

    async def tenant_of_user(self, user_id: str) -> Principal | None:
        """As whom a user of the broker speaks; None if no key names it."""
        row = await self._database.row(SQL["key_of_user"], broker_user=user_id)
        return None if row is None else _principal(row)


def _principal(row: asyncpg.Record) -> Principal:
    """Its roles are its own: everybody's is none that a key can hold."""
    return Principal(row["name"], row["tenant"], Scope(row["scope"]), _roles(row))


def _roles(row: asyncpg.Record) -> frozenset[str]:
    return frozenset(row["roles"]) - {EVERYBODY}


def prefix_of(plaintext: str) -> str | None:
    """The public part of a key; None for what is not a key."""
    parts = plaintext.split("_", 2)
    well_formed = len(parts) == 3 and parts[0] == _MARK and parts[1].isalnum()
    return parts[1] if well_formed and parts[1].isascii() else None


def _hash(plaintext: str) -> bytes:
    return hashlib.sha256(plaintext.encode(errors="surrogatepass")).digest()
