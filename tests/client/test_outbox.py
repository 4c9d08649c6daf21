"""start_in: a saga starts if, and only if, the caller's transaction commits."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from amends_contracts.messages import ClientMessage, Start, StartAnswer
from amends_contracts.problems import Problem
from amends_participants.client import Amends, create_outbox
from client.fake_orchestrator import SAGA, FakeOrchestrator

ROWS = text("SELECT refused FROM amends_client_outbox ORDER BY written_at")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The caller's own database, with the table; made twice, which changes nothing."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    for _ in range(2):
        async with engine.begin() as conn:
            await create_outbox(conn)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def relaying(amends: Amends, engine: AsyncEngine, poll_s: float = 60) -> AsyncGenerator[None]:
    """A relay beside the test."""
    task = asyncio.create_task(amends.relay(engine, poll_s=poll_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def rows(engine: AsyncEngine) -> list[Any]:
    """What is in the outbox: the problem of each row."""
    async with engine.connect() as conn:
        return [row.refused for row in (await conn.execute(ROWS)).all()]


async def until_empty(engine: AsyncEngine) -> None:
    """Until the relay has sent everything."""
    async with asyncio.timeout(20):
        while await rows(engine):  # noqa: ASYNC110 (another task, seen through the database)
            await asyncio.sleep(0.02)


def start(key: str) -> Start:
    """The start that is meant."""
    return Start(definition="book-trip", key=key, input={"to": "LIS"})


async def test_a_commit_starts_and_a_rollback_does_not(
    amends: Amends, orchestrator: FakeOrchestrator, engine: AsyncEngine
) -> None:
    """With a session, at once: the relay of this client hears of the commit."""
    async with relaying(amends, engine):
        async with AsyncSession(engine) as session:
            await amends.start_in(session, "book-trip", {"to": "LIS"}, key="k-1")
            await session.rollback()
            await amends.start_in(session, "book-trip", {"to": "LIS"}, key="k-2")
            assert orchestrator.asked == []
            await session.commit()
        await until_empty(engine)
    assert orchestrator.messages == [start("k-2")]


async def test_a_connection_is_as_good_as_a_session(
    amends: Amends, orchestrator: FakeOrchestrator, engine: AsyncEngine
) -> None:
    """SQLAlchemy Core alone is enough."""
    async with relaying(amends, engine):
        async with engine.begin() as conn:
            await amends.start_in(conn, "book-trip", {"to": "LIS"}, key="k-1")
        await until_empty(engine)
    assert orchestrator.messages == [start("k-1")]


async def test_what_another_process_wrote_is_sent_too(
    amends: Amends, orchestrator: FakeOrchestrator, engine: AsyncEngine
) -> None:
    """By looking every so often; in the order of writing as far as one batch goes."""
    async with Amends("amqp://elsewhere") as other, engine.begin() as conn:
        for n in range(250):
            await other.start_in(conn, "book-trip", {"to": "LIS"}, key=f"k-{n}")
    async with relaying(amends, engine, poll_s=0.1):
        await until_empty(engine)
    assert {m.key for m in orchestrator.messages if isinstance(m, Start)} == {
        f"k-{n}" for n in range(250)
    }


async def test_a_refused_start_stays_with_its_problem(
    amends: Amends, orchestrator: FakeOrchestrator, engine: AsyncEngine
) -> None:
    """It does not hold up the others, and is not sent again."""
    problem = Problem(type="amends:key-conflict", title="Taken")

    def answer(message: ClientMessage) -> Problem | StartAnswer:
        assert isinstance(message, Start)
        return problem if message.key == "k-1" else StartAnswer(SAGA, created=True)

    orchestrator.answer = answer
    async with engine.begin() as conn:
        for key in ("k-1", "k-2"):
            await amends.start_in(conn, "book-trip", {"to": "LIS"}, key=key)
    async with relaying(amends, engine, poll_s=0.05):
        async with asyncio.timeout(20):
            while await rows(engine) != [problem.to_json()]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
    assert len(orchestrator.asked) == 2


async def test_two_relays_send_each_start_once(
    amends: Amends, orchestrator: FakeOrchestrator, engine: AsyncEngine
) -> None:
    """A row is claimed by one of them."""
    async with engine.begin() as conn:
        for n in range(20):
            await amends.start_in(conn, "book-trip", {"to": "LIS"}, key=f"k-{n}")
    async with relaying(amends, engine), relaying(amends, engine):
        await until_empty(engine)
    assert len(orchestrator.asked) == 20


async def test_an_unanswered_start_is_sent_again_under_its_own_id(
    amends: Amends,
    orchestrator: FakeOrchestrator,
    engine: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The row waits; another message id would be another question."""
    monkeypatch.setattr("amends_participants.client.outbox.ASK_TIMEOUT_S", 0.2)
    orchestrator.answer = lambda _: (
        None if len(orchestrator.asked) < 3 else StartAnswer(SAGA, created=True)
    )
    async with engine.begin() as conn:
        await amends.start_in(conn, "book-trip", {"to": "LIS"}, key="k-1")
    async with relaying(amends, engine, poll_s=0.05):
        await until_empty(engine)
    assert len({message.message_id for message in orchestrator.asked}) == 1
    assert len(orchestrator.asked) == 3


async def test_a_database_that_is_away_ends_no_relay(
    amends: Amends, orchestrator: FakeOrchestrator, engine: AsyncEngine
) -> None:
    """It goes on when the table can be read again."""
    async with relaying(amends, engine, poll_s=0.05):
        async with engine.begin() as conn:
            await conn.execute(text("ALTER TABLE amends_client_outbox RENAME TO away"))
        await asyncio.sleep(0.2)
        async with engine.begin() as conn:
            await conn.execute(text("ALTER TABLE away RENAME TO amends_client_outbox"))
            await amends.start_in(conn, "book-trip", {"to": "LIS"}, key="k-1")
        await until_empty(engine)
    assert orchestrator.messages == [start("k-1")]
