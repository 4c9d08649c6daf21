"""The tables come into being once, whoever asks for them, however often."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import amends_migrations
from amends_migrations import MigrationFailed, SchemaNewer, current, head, run, upgrade, urls

TABLES = {
    "alembic_version", "api_key", "audit", "circuit", "definition", "drill_cell", "drill_run",
    "journal", "orchestrator", "outbox", "participant", "partition", "permit", "permit_turn",
    "review", "saga", "saga_label", "schedule", "schema_floor", "signal", "start_key",
}  # fmt: skip


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    """Rows, as an administrator."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def tables(url: str) -> set[str]:
    """Tables of our schema."""
    rows = await fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'amends'")
    return {row["tablename"] for row in rows}


async def test_upgrading_creates_the_tables_and_again_changes_nothing(database_url: str) -> None:
    """Everything lies in one schema; nothing is left in `public`."""
    assert current(database_url) is None
    upgrade(database_url)
    assert await tables(database_url) == TABLES
    upgrade(database_url)
    assert current(database_url) == head()
    public = "SELECT 1 FROM pg_tables WHERE schemaname = 'public'"
    assert await fetch(database_url, public) == []


async def test_runs_beside_each_other_are_harmless(database_url: str) -> None:
    """Every replica may migrate when it starts."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, [database_url] * 4))
    assert await tables(database_url) == TABLES
    versions = await fetch(database_url, "SELECT version_num FROM amends.alembic_version")
    assert [row["version_num"] for row in versions] == [head()]


async def test_a_run_that_waits_too_long_says_for_what(database_url: str) -> None:
    """The lock of a run that hangs is named."""
    holder = await asyncpg.connect(database_url)
    try:
        await holder.execute(f"SELECT pg_advisory_lock({run.LOCK_ID})")
        with pytest.raises(MigrationFailed, match="pg_locks"):
            await asyncio.to_thread(upgrade, database_url, wait_s=0.3)
    finally:
        await holder.close()
    assert current(database_url) is None


async def test_a_failed_migration_leaves_nothing(database_url: str) -> None:
    """DDL is transactional: what stands in the way is removed, and it is run again."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE SCHEMA amends; CREATE TABLE amends.journal (mine text)")
    with pytest.raises(Exception, match="journal"):
        upgrade(database_url)
    assert await tables(database_url) == {"journal"}
    await connection.execute("DROP TABLE amends.journal")
    await connection.close()
    upgrade(database_url)
    assert await tables(database_url) == TABLES


async def test_a_newer_database_is_left_alone(database_url: str) -> None:
    """An old release does not touch what it does not know."""
    upgrade(database_url)
    await fetch(database_url, "UPDATE amends.alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaNewer, match="9999"):
        upgrade(database_url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_urls_of_every_form_lead_there(database_url: str, scheme: str) -> None:
    """Whatever the environment holds, and with what libpq knows beside it."""
    url = scheme + database_url.removeprefix("postgresql") + "?sslmode=prefer"
    assert current(url) is None


@pytest.mark.parametrize("url", ["mysql://amends:s3cret@localhost/x", "s3cret", ""])
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    """The message can be printed."""
    with pytest.raises(urls.BadDatabaseUrl) as refusal:
        urls.plain_url(url)
    assert "s3cret" not in str(refusal.value)


def test_the_head_is_the_newest_script() -> None:
    """It is written down so that a running service need not load Alembic."""
    config = Config()
    folder = Path(amends_migrations.__file__).parent
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == head()


async def test_no_saga_can_be_silent_whoever_writes_it(migrated_database_url: str) -> None:
    """The schema itself refuses a saga that nothing would ever wake."""
    insert = """INSERT INTO amends.saga (id, started_at, wake_at, version, seq, partition, tenant,
        definition, key, status, state) VALUES (gen_random_uuid(), now(), {}, 1, 1, 0, 't', 'd',
        'k', 'stuck', '{{}}')"""
    for wake_at in ("NULL", "'infinity'", "'-infinity'"):
        with pytest.raises(asyncpg.CheckViolationError, match="saga_never_silent"):
            await fetch(migrated_database_url, insert.format(wake_at))
    await fetch(migrated_database_url, insert.format("now()"))
