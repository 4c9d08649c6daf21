"""Starting, listing, reading and awaiting sagas over REST."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest

from amends_contracts.messages import Trace
from amends_contracts.names import StepPath
from amends_orchestrator.api.live import Live
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.state import SagaStatus
from api.fakes import BEGAN, World, app_of, client_of, saga_id, until

START: dict[str, Any] = {"definition": "book-trip", "key": "order-1", "input": {"to": "Oslo"}}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_start_is_created_once(client: httpx.AsyncClient, world: World) -> None:
    """201 with the saga's address; the same start again is 200 with the same saga."""
    body = {**START, "version": 3, "labels": {"channel": "web"}}
    first = await client.post("/v1/sagas", json=body, headers={"traceparent": PARENT})
    assert first.status_code == 201
    assert first.json() == {"saga_id": saga_id(1), "created": True}
    assert first.headers["location"] == f"/v1/sagas/{saga_id(1)}"
    again = await client.post("/v1/sagas", json=body)
    assert again.status_code == 200
    assert again.json() == {"saga_id": saga_id(1), "created": False}
    [(tenant, by, start, trace)] = world.starts
    assert (tenant, by, trace) == ("default", "local", Trace(PARENT))
    assert (start.definition, start.version, start.key) == ("book-trip", 3, "order-1")
    assert (start.input, start.labels) == ({"to": "Oslo"}, {"channel": "web"})


async def test_pages_cover_the_list_once(client: httpx.AsyncClient, world: World) -> None:
    """Newest first, by cursor; a saga started meanwhile does not shift the pages."""
    for n in range(1, 8):
        world.add(n)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = f"limit=3&cursor={cursor}" if cursor else "limit=3"
        page = (await client.get(f"/v1/sagas?{query}")).json()
        seen += [item["saga_id"] for item in page["items"]]
        world.add(100 + len(seen))
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [saga_id(n) for n in range(7, 0, -1)]


async def test_filters_narrow_the_list(client: httpx.AsyncClient, world: World) -> None:
    """By definition, status and labels, all at once."""
    world.add(1, status=SagaStatus.STUCK, labels={"channel": "web", "vip": "true"}, residue=2)
    world.add(2, status=SagaStatus.STUCK, labels={"channel": "shop"})
    world.add(3, labels={"channel": "web"})
    query = "definition=book-trip&status=stuck&label.channel=web&label.vip=true"
    page = (await client.get(f"/v1/sagas?{query}")).json()
    assert page == {
        "items": [
            {
                "saga_id": saga_id(1),
                "definition": "book-trip",
                "version": 1,
                "key": "order-1",
                "kind": "saga",
                "status": "stuck",
                "residue": 2,
                "labels": {"channel": "web", "vip": "true"},
                "started_at": "2026-01-05T09:30:01Z",
                "ended_at": None,
                "trace_id": None,
            }
        ],
        "next": None,
    }
    assert (await client.get("/v1/sagas?definition=other")).json()["items"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "status=done"])
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    """422 names the parameter."""
    response = await client.get(f"/v1/sagas?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["path"] == f"/query/{query.partition('=')[0]}"


async def test_the_journal_comes_in_pages(client: httpx.AsyncClient, world: World) -> None:
    """In order, with the cursor of what follows."""
    made = world.add(1)
    world.journals[made] = [
        JournalRow(seq=n, at=BEGAN + timedelta(seconds=n), kind="sent", step=StepPath("flight"))
        for n in range(1, 6)
    ]
    first = (await client.get(f"/v1/sagas/{made}/journal?limit=3")).json()
    assert [item["seq"] for item in first["items"]] == [1, 2, 3]
    rest = (await client.get(f"/v1/sagas/{made}/journal?cursor={first['next']}")).json()
    assert [item["seq"] for item in rest["items"]] == [4, 5]
    assert rest["next"] is None
    assert (await client.get(f"/v1/sagas/{made}/journal?cursor=-1")).status_code == 422


async def test_the_undo_plan_is_shown(client: httpx.AsyncClient, world: World) -> None:
    """What a compensation would do now."""
    answer = (await client.get(f"/v1/sagas/{world.add(1)}/undo-plan")).json()
    assert answer == {"items": [{"order": 1, "path": "flight", "command": "flights.release"}]}


async def test_waiting_answers_when_the_saga_ends(client: httpx.AsyncClient, world: World) -> None:
    """A long poll sees every step pass and answers at the end, without being asked again."""
    made = world.add(1)

    async def run() -> None:
        for _ in range(3):
            await asyncio.sleep(0.1)
            world.move(made)
        world.move(made, status=SagaStatus.COMPLETED)

    running = asyncio.create_task(run())
    began = time.monotonic()
    answer = (await client.get(f"/v1/sagas/{made}?wait=30")).json()
    assert answer["status"] == "completed"
    assert time.monotonic() - began < 5
    await running


async def test_waiting_ends_by_its_own_bound(client: httpx.AsyncClient, world: World) -> None:
    """After `wait` seconds the saga as it is; longer than a minute cannot be asked for."""
    made = world.add(1)
    began = time.monotonic()
    assert (await client.get(f"/v1/sagas/{made}?wait=1")).json()["status"] == "running"
    assert 0.9 < time.monotonic() - began < 5
    for wait in ("61", "-1", "x", "1.5"):
        assert (await client.get(f"/v1/sagas/{made}?wait={wait}")).status_code == 422


async def test_an_ended_saga_is_not_waited_for(client: httpx.AsyncClient, world: World) -> None:
    """It is answered at once, without a poll."""
    made = world.add(1, status=SagaStatus.COMPENSATED)
    assert (await client.get(f"/v1/sagas/{made}?wait=60")).json()["status"] == "compensated"
    assert world.polls == 0


async def test_many_wait_by_one_poll(world: World) -> None:
    """A hundred long polls ask the database as often as one, and nobody waiting asks nothing."""
    app = app_of(world)
    heads: Live[Any, Any] = app.state.services.heads
    ids = [world.add(n) for n in range(1, 101)]
    async with client_of(app) as client:
        asked = [asyncio.create_task(client.get(f"/v1/sagas/{i}?wait=20")) for i in ids]
        await until(lambda: heads.waiting == 100)
        await asyncio.sleep(0.5)
        assert 1 <= world.polls <= 11
        for one in ids:
            world.move(one, status=SagaStatus.COMPLETED)
        answers = await asyncio.gather(*asked)
        assert {a.json()["status"] for a in answers} == {"completed"}
        polls = world.polls
        await asyncio.sleep(0.3)
        assert (heads.waiting, world.polls) == (0, polls)


async def test_stopping_lets_who_waits_go(world: World) -> None:
    """Long polls answer as it is when the process goes down."""
    app = app_of(world)
    made = world.add(1)
    async with client_of(app) as client:
        asked = asyncio.create_task(client.get(f"/v1/sagas/{made}?wait=60"))
        await until(lambda: app.state.services.heads.waiting == 1)
        await app.state.stop_waiting()
        assert (await asked).json()["status"] == "running"
        assert (await client.get(f"/v1/sagas/{made}?wait=60")).json()["status"] == "running"


async def test_a_failing_poll_lets_waiters_run_into_their_time(world: World) -> None:
    """The database goes away while one waits: the poll goes on, and so does the waiter."""
    failures = iter([OSError("gone"), None, None])
    versions = iter([1, 2])

    async def fetch(keys: object) -> dict[str, int]:
        failure = next(failures)
        if failure:
            raise failure
        return {"a": next(versions)}

    live: Live[str, int] = Live(fetch)
    assert await live.changed("a", 1, 10) == 2
    assert await live.changed("a", 2, 0) is None
    await live.close()
