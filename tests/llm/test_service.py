"""The service over RabbitMQ: an answer that is stored is never asked for, or paid for, again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
from llmock.pytest_plugin import LLMock
from llmock.testing import LLMockServer

from amends_participants import create_tables
from amends_participants.llm import app
from llm.test_providers import CHAT
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World

TESTS = Path(__file__).parent.parent
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
ASKED = {"prompt": "A canary of a prompt", "models": [CHAT], "max_reasks": 0}


@pytest.fixture
async def start(
    caller: Caller, database_url: str, broker_url: str, wire_prefix: str, tmp_path: Path
) -> AsyncGenerator[Start]:
    """Starts the service as a process of its own, with everything logged that it would log."""
    started: list[asyncio.subprocess.Process] = []

    async def start_one(**more: str) -> asyncio.subprocess.Process:
        env = {
            **os.environ,
            "AMENDS_BROKER_URL": broker_url,
            "AMENDS_DATABASE_URL": database_url,
            "AMENDS_PREFIX": wire_prefix,
            "AMENDS_LEASE_S": "1",
            "AMENDS_SWEEP_S": "0.3",
            "PYTHONPATH": str(TESTS),
            "BANK_MARK": str(tmp_path / "killed"),
            **more,
        }
        log = (tmp_path / f"{len(started)}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm.mortal", env=env, stdout=log, stderr=log
        )
        log.close()
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def said_in(folder: Path) -> str:
    """All that was logged."""
    return "".join(path.read_text() for path in folder.glob("*.log"))


async def sent(caller: Caller, step: Step) -> None:
    """The action is with the service, whether its queues were there before or not."""
    await caller.queue_there("llm")
    await caller.send(step.action())


@pytest.mark.slow
async def test_killed_between_answer_and_reply_it_asks_no_second_time(
    caller: Caller, start: Start, provider: LLMock, tmp_path: Path
) -> None:
    """The answer stands in its row: it is replied after the restart, and to every repetition.

    And whatever is logged meanwhile holds neither question nor answer nor key.
    """
    provider.reply("A canary of an answer")
    step = Step("llm.generate", ASKED)
    first = await start(LLM_DIES="replying", OPENAI_API_KEY="canary-key")
    await sent(caller, step)
    assert await asyncio.wait_for(first.wait(), 20) == -signal.SIGKILL
    await start(OPENAI_API_KEY="canary-key")
    (heard, *_) = await caller.heard(step.action())
    again = await caller.ask(step.action(attempt=2))
    assert told(heard) == told(again) == ("succeeded", {"text": "A canary of an answer"})
    assert len(provider.requests) == 1
    assert heard.usage == again.usage
    logs = said_in(tmp_path)
    assert "amends" in logs
    assert "canary" not in logs


@pytest.mark.slow
async def test_killed_while_asking_it_asks_again_and_says_so(
    caller: Caller, start: Start, provider: LLMock, llmock_server: LLMockServer
) -> None:
    """What is lost before it is stored is paid for again: one call is counted as lost."""
    provider.delay(30).reply("x", times=None)
    step = Step("llm.generate", ASKED)
    first = await start()
    await sent(caller, step)
    while not llmock_server.state.journal.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    first.kill()
    await start()
    (heard, *_) = await caller.heard(step.action())
    assert told(heard) == ("succeeded", {"text": "x"})
    assert heard.usage is not None
    assert (heard.usage.calls, heard.usage.lost) == (2, 1)


async def test_a_failure_carries_what_it_has_used(
    caller: Caller, provider: LLMock, database_url: str, broker_url: str, wire_prefix: str
) -> None:
    """An answer of the wrong form has been paid for."""
    world = World(database_url)
    async with world.engine.begin() as conn:
        await create_tables(conn)
    await world.engine.dispose()
    provider.reply("no JSON")
    output = {"type": "object", "required": ["city"]}
    step = Step("llm.generate", {**ASKED, "output": output})
    async with running(app, settings_for(broker_url, database_url, wire_prefix)):
        heard = await caller.ask(step.action())
    assert told(heard) == ("failed", "amends:not-the-schema")
    assert heard.usage is not None
    assert (heard.usage.calls, heard.usage.lost) == (1, 0)
    assert heard.usage.input_tokens > 0
