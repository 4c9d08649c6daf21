"""A private Postgres: its data, its crashes, its end."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from amends_orchestrator.local import folders, postgres, servers

pytestmark = pytest.mark.servers

OWNER = """
import sys, time
from amends_orchestrator.local import postgres
server = postgres.start()
print(server.pids["postgres"], server.log.parent, flush=True)
time.sleep(600)
"""


async def value(url: str, statement: str) -> object:
    """The first value that a statement gives."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_it_answers_at_its_url(own_postgres: servers.Server) -> None:
    """The server speaks at its URL as a superuser, durably, on the loopback alone."""
    assert await value(
        own_postgres.url,
        "select array[current_setting('is_superuser'), current_setting('fsync'),"
        " current_setting('synchronous_commit'), current_setting('listen_addresses'),"
        " current_setting('unix_socket_directories'), current_setting('server_encoding')]",
    ) == ["on", "on", "on", "127.0.0.1", "", "UTF8"]


async def test_it_wants_its_password(own_postgres: servers.Server) -> None:
    """Another user of this machine gets in with no password and with no other."""
    port = own_postgres.url.rsplit(":", 1)[1]
    for login in ("amends:", "amends:guessed", "postgres:guessed"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://{login}@127.0.0.1:{port}")


async def test_data_outlives_a_restart_and_a_crash(own_postgres: servers.Server) -> None:
    """What was committed is there after a restart and after a kill, at the same URL."""
    await value(own_postgres.url, "create table kept as select 7 as it")
    await asyncio.to_thread(own_postgres.restart)
    assert await value(own_postgres.url, "select it from kept") == 7
    await value(own_postgres.url, "insert into kept values (8)")
    await asyncio.to_thread(own_postgres.kill)
    with pytest.raises(OSError):
        await value(own_postgres.url, "select 1")
    await asyncio.to_thread(own_postgres.restart)
    assert await value(own_postgres.url, "select sum(it) from kept") == 15


async def test_two_run_beside_each_other(own_postgres: servers.Server) -> None:
    """A second server has its own port, data and end."""
    other = await asyncio.to_thread(postgres.start, fsync=False)
    try:
        await value(other.url, "create table only_there ()")
        assert await value(own_postgres.url, "select to_regclass('only_there')") is None
        assert await value(other.url, "show fsync") == "off"
    finally:
        await asyncio.to_thread(other.stop)
    assert await value(own_postgres.url, "select 1") == 1


async def test_a_given_folder_keeps_the_data() -> None:
    """With a folder of the caller's the data and the password stay for the next start."""
    folder = folders.temporary("kept")
    first = await asyncio.to_thread(postgres.start, folder)
    await value(first.url, "create table kept as select 7 as it")
    await asyncio.to_thread(first.stop)
    second = await asyncio.to_thread(postgres.start, folder, port=first.port)
    found = (second.url == first.url, await value(second.url, "select it from kept"))
    await asyncio.to_thread(second.stop)
    assert found == (True, 7)
    folders.remove(folder)


def test_stop_leaves_nothing() -> None:
    """A server without a folder of the caller's takes its files along, and stops only once."""
    server = postgres.start()
    home = server.log.parent
    server.stop()
    server.stop()
    assert not home.exists()


def test_it_goes_with_its_killed_owner() -> None:
    """SIGKILL to the owner leaves neither processes nor files."""
    from local.test_guard import alive, within

    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as said:
        pid, home = said.readline().split()
    owner.kill()
    owner.wait()
    assert within(5.0, lambda: not (alive(int(pid)) or Path(home).exists()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands a server over to another user")
def test_a_closed_folder_is_refused(tmp_path: Path) -> None:
    """Root is told that nobody gets to the data beneath a closed folder."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(folders.UnreachableFolder, match="closed to other users"):
        postgres.start(closed / "data")
