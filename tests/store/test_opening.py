"""A store opens on a database it can trust, and says what to do about any other."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from amends_migrations import head
from amends_orchestrator.engine.ports import StoreUnavailable
from amends_orchestrator.local import postgres
from amends_orchestrator.store import ApiKeys, Audit, PostgresStore, opening
from conformance.stores import ME, batch, messages, new_saga


@asynccontextmanager
async def opened(
    url: str, *, allow_unsafe: bool = False, partitions: int | None = None
) -> AsyncGenerator[PostgresStore]:
    """A store, closed again."""
    store = await PostgresStore.open(url, allow_unsafe=allow_unsafe, partitions=partitions)
    try:
        yield store
    finally:
        await store.close()


async def execute(url: str, *statements: str) -> None:
    """As an administrator."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_an_empty_database_names_the_command(database_url: str) -> None:
    """The one who starts it first is told to migrate."""
    with pytest.raises(opening.SchemaMissing, match="run `amends migrate`") as refusal:
        await PostgresStore.open(database_url)
    assert refusal.value.revision is None


async def test_an_older_schema_names_the_command(migrated_database_url: str) -> None:
    """So is the one who installed a newer release."""
    await execute(migrated_database_url, "UPDATE amends.alembic_version SET version_num = '0000'")
    with pytest.raises(opening.SchemaMissing, match="amends migrate.*0000.*" + head()):
        await PostgresStore.open(migrated_database_url)


async def test_a_newer_schema_serves_the_release_before(migrated_database_url: str) -> None:
    """Migrations expand first: a process of the last release starts on the new schema."""
    await execute(migrated_database_url, "UPDATE amends.alembic_version SET version_num = '9998'")
    async with opened(migrated_database_url) as store:
        assert (await store.load([], [])).sagas == {}


async def test_a_contracted_schema_refuses_old_releases(migrated_database_url: str) -> None:
    """What this release needs may be gone."""
    await execute(
        migrated_database_url,
        "UPDATE amends.alembic_version SET version_num = '9999'",
        "UPDATE amends.schema_floor SET revision = '9998'",
    )
    with pytest.raises(opening.SchemaTooNew, match="amends migrate") as refusal:
        await PostgresStore.open(migrated_database_url)
    assert (refusal.value.revision, refusal.value.floor) == ("9999", "9998")


async def test_asynchronous_commits_are_refused(migrated_database_url: str) -> None:
    """A saga whose undo was forgotten by a power cut would be a broken promise."""
    name = migrated_database_url.rsplit("/", 1)[1]
    await execute(migrated_database_url, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    with pytest.raises(opening.NotDurable, match="synchronous_commit") as refusal:
        await PostgresStore.open(migrated_database_url)
    assert refusal.value.settings == ("synchronous_commit",)
    async with opened(migrated_database_url, allow_unsafe=True) as store:
        assert (await store.load([], [])).sagas == {}


async def test_a_server_without_fsync_is_refused() -> None:
    """Durability is looked at before anything else, so that no migration is in vain."""
    server = postgres.start(fsync=False, settings={"full_page_writes": "off"})
    try:
        with pytest.raises(opening.NotDurable, match="AMENDS_ALLOW_UNSAFE_DATABASE") as refusal:
            await PostgresStore.open(server.url)
    finally:
        server.stop()
    assert refusal.value.settings == ("fsync", "full_page_writes")


async def test_an_old_server_is_refused(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is compared as a number."""
    monkeypatch.setattr(opening, "SERVER_VERSION_MIN", 990000)
    with pytest.raises(opening.ServerTooOld, match="Postgres 14"):
        await PostgresStore.open(migrated_database_url)


async def test_a_database_that_is_away_is_said_so() -> None:
    """Nobody listens there."""
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await PostgresStore.open("postgresql://amends@127.0.0.1:1/none", query_timeout_s=2)


async def test_a_wrong_password_is_said_without_it(migrated_database_url: str) -> None:
    """The refusal does not repeat the secret."""
    head_, _, tail = migrated_database_url.partition("@")
    wrong = head_.rsplit(":", 1)[0] + ":s3cret@" + tail
    with pytest.raises(StoreUnavailable) as refusal:
        await PostgresStore.open(wrong)
    assert "s3cret" not in str(refusal.value)


async def test_partitions_are_raised_at_opening(migrated_database_url: str) -> None:
    """As many as the settings say, never fewer than there are."""
    for wanted in (24, 4):
        async with opened(migrated_database_url, partitions=wanted) as store:
            tick = await store.tick(ME, lease_s=1, claim=False, limit=1)
            assert tick.partitions == 24


async def test_a_user_with_the_documented_rights_is_enough(migrated_database_url: str) -> None:
    """The orchestrator runs as one who can neither create nor drop anything."""
    name = f"orchestrator_{uuid.uuid4().hex[:8]}"
    readme = (Path(__file__).parents[2] / "migrations" / "README.md").read_text()
    grants = readme.split("```sql")[1].split("```")[0].replace("orchestrator", name)
    await execute(migrated_database_url, f"CREATE USER {name} PASSWORD 'secret'", grants)
    address = urlsplit(migrated_database_url).netloc.rpartition("@")[2]
    limited = urlsplit(migrated_database_url)._replace(netloc=f"{name}:secret@{address}")
    try:
        async with opened(urlunsplit(limited), partitions=20) as store:
            now = (await store.tick(ME, lease_s=9, claim=True, limit=1)).now
            await store.commit(batch(new_saga(now), orchestrator=ME, outbox=messages()))
            await ApiKeys(store.engine).create("k", "acme", "viewer")
            await Audit(store.engine).record(tenant="acme", who="k", action="a", outcome="done")
    finally:
        await execute(migrated_database_url, f"DROP OWNED BY {name}", f"DROP USER {name}")
