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
from telemetry.otlp_receiver import otlp_receiver

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
        path = tmp_path / f"{len(started)}.log"
        log = path.open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm.mortal", env=env, stdout=log, stderr=log
        )
        log.close()
        started.append(process)
        async with asyncio.timeout(120):  # importing takes its time where much else is going on
            while "llm is ready" not in said_in(tmp_path, path.name):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return process

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


def said_in(folder: Path, name: str = "*.log") -> str:
    """All that was logged."""
    return "".join(path.read_text() for path in folder.glob(name))


async def sent(caller: Caller, step: Step) -> None:
    """The action is with the service, whether its queues were there before or not."""
    await caller.queue_there("llm")
    await caller.send(step.action())


@pytest.mark.slow
async def test_killed_between_answer_and_reply_it_asks_no_second_time(
    caller: Caller, start: Start, provider: LLMock
) -> None:
    """The answer stands in its row: it is replied after the restart, and to every repetition."""
    provider.reply("A canary of an answer")
    step = Step("llm.generate", ASKED)
    first = await start(LLM_DIES="replying")
    await sent(caller, step)
    assert await asyncio.wait_for(first.wait(), 60) == -signal.SIGKILL
    await start()
    (heard, *_) = await caller.heard(step.action())
    again = await caller.ask(step.action(attempt=2))
    assert told(heard) == told(again) == ("succeeded", {"text": "A canary of an answer"})
    assert len(provider.requests) == 1
    assert heard.usage == again.usage


@pytest.mark.slow
async def test_killed_while_asking_it_asks_again_and_says_so(
    caller: Caller, start: Start, provider: LLMock, llmock_server: LLMockServer, tmp_path: Path
) -> None:
    """What is lost before it is stored is paid for again and counted as lost, and neither logs nor
    traces hold question, answer or key.
    """
    provider.delay(30).reply("A canary of an answer", times=None)
    step = Step("llm.generate", ASKED)
    first = await start(OPENAI_API_KEY="canary-key")
    await sent(caller, step)
    while not llmock_server.state.journal.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    first.kill()
    with otlp_receiver() as receiver:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        await start(OPENAI_API_KEY="canary-key", OTEL_BSP_SCHEDULE_DELAY="100", **traced)
        (heard, *_) = await caller.heard(step.action())
        await caller.ask(step.action(attempt=2))
        async with asyncio.timeout(60):
            while "llm.generate" not in [span.name for span in receiver.spans()]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert told(heard) == ("succeeded", {"text": "A canary of an answer"})
    assert heard.usage is not None
    assert (heard.usage.calls, heard.usage.lost) == (2, 1)
    assert "canary" not in repr(receiver.spans()) + said_in(tmp_path)


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
