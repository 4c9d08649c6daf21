"""`amends archive` beside a running service: what is in the file, and what everybody is told."""

import asyncio
import gzip
import json
from pathlib import Path

import asyncpg
import pytest

from acceptance.world import World
from amends_migrations.urls import plain_url
from cli.running import Amends


def test_a_completed_trip_is_archived_and_its_participants_are_told(
    world: World, amends: Amends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has all of it; the participants' rows go seven days later."""
    saga = world.start()
    assert world.end_of(saga)["status"] == "completed"
    monkeypatch.setenv("AMENDS_DATABASE_URL", world.machine.database_url)
    said = amends("archive", str(tmp_path / "old"), "--older-than", "0s", "--json").json
    [file] = (tmp_path / "old").iterdir()
    assert said["file"] == str(file)
    text = gzip.decompress(file.read_bytes()).decode()
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == said["sagas"]
    [it] = [line for line in lines if line["saga"]["saga_id"] == saga]
    assert it["saga"]["status"] == "completed"
    kinds = [row["kind"] for row in it["journal"]]
    assert (kinds[0], kinds[-1], len(kinds)) == ("saga.started", "saga.completed", 10)
    address = world.machine.address
    monkeypatch.setenv("AMENDS_API_KEY", address.key or "")
    assert amends("show", saga, "--url", address.url).code == 4
    for service in ("flights", "hotels", "payments", "mail"):
        world.until(
            lambda service=service: is_forgotten(world, service, saga), f"{service} to know"
        )
    again = amends("archive", str(tmp_path / "new"), "--older-than", "0s")
    assert (again.code, (tmp_path / "new").exists()) == (0, False)
    assert "Nothing to archive" in again.out


def is_forgotten(world: World, service: str, saga: str) -> bool:
    """Whether all rows of a service of a saga may go later."""

    async def look() -> bool:
        connection = await asyncpg.connect(plain_url(world.machine.database_of(service)))
        try:
            return await connection.fetchval(
                "SELECT count(*) > 0 AND count(*) = count(forget_after) FROM amends_barrier"
                " WHERE key LIKE $1",
                f"{saga}/%",
            )
        finally:
            await connection.close()

    return asyncio.run(look())


@pytest.mark.parametrize("age", ["soon", "-3d", ""])
def test_an_age_that_is_none_is_refused(amends: Amends, tmp_path: Path, age: str) -> None:
    """Before anything is looked at."""
    ran = amends("archive", str(tmp_path), "--older-than", age)
    assert (ran.code, ran.err.splitlines()[1]) == (2, "  For example: --older-than 30d")
