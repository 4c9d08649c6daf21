"""A participant killed at every boundary, and started again: one effect, the right reply."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from participants.caller import Caller, Step, told
from participants.world import World

TESTS = Path(__file__).parent.parent
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start(
    caller: Caller, world: World, broker_url: str, wire_prefix: str, tmp_path: Path
) -> AsyncGenerator[Start]:
    """Starts the bank as a process of its own."""
    started: list[asyncio.subprocess.Process] = []

    async def start_one(**more: str) -> asyncio.subprocess.Process:
        env = {
            **os.environ,
            "AMENDS_BROKER_URL": broker_url,
            "AMENDS_DATABASE_URL": world.url,
            "AMENDS_PREFIX": wire_prefix,
            "AMENDS_LEASE_S": "1",
            "AMENDS_SWEEP_S": "0.3",
            "PYTHONPATH": str(TESTS),
            "BANK_MARK": str(tmp_path / "killed"),
            **more,
        }
        log = (tmp_path / f"bank{len(started)}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "participants.mortal", env=env, stdout=log, stderr=log
        )
        log.close()
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def killed(process: asyncio.subprocess.Process) -> None:
    """Wait until it has killed itself."""
    assert await asyncio.wait_for(process.wait(), 20) == -signal.SIGKILL


ABSENT = ("failed", "amends:crashed")
UNKNOWN = ("unknown", "amends:crashed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "dies", "reply", "effects"),
    [
        ("bank.charge", "dies before", None, 1),
        ("bank.charge", "dies after", None, 1),
        ("bank.charge", "replying", None, 1),
        ("bank.wire", "dies before", None, 1),
        ("bank.wire", "dies after", None, 1),
        ("bank.wire", "replying", None, 1),
        ("bank.post", "dies before", ABSENT, 0),
        ("bank.post", "dies after", None, 1),
        ("bank.shout", "dies before", UNKNOWN, 0),
        ("bank.shout", "dies after", UNKNOWN, 1),
    ],
)
async def test_killed_in_an_action(
    caller: Caller,
    world: World,
    start: Start,
    command: str,
    dies: str,
    reply: tuple[str, str] | None,
    effects: int,
) -> None:
    """Whatever was done before the kill is done once after it; what is in doubt says so."""
    step = Step(command, {"account": "a1", "usd": 30, "how": dies})
    first = await start(BANK_DIES=dies)
    action = step.action()
    await caller.send(action)
    # a command sent before the service's queues are there is returned, as the engine would learn
    await caller.queue_there("bank")
    await caller.send(action)
    await killed(first)
    await start()
    (heard, *_) = await caller.heard(action)
    assert told(heard) == (reply or ("succeeded", {"id": step.key}))
    assert await world.done(step.key) == ["acted"] * effects
    undone = await caller.ask(step.compensation())
    assert (told(undone), await world.total()) == (("succeeded", {}), 2000)


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["undo dies before", "undo dies after"])
@pytest.mark.parametrize("command", ["bank.charge", "bank.wire", "bank.post"])
async def test_killed_in_a_compensation(
    caller: Caller, world: World, start: Start, command: str, dies: str
) -> None:
    """An undo that was under way is finished after a restart, once."""
    step = Step(command, {"account": "a1", "usd": 30, "how": dies})
    first = await start()
    await caller.queue_there("bank")
    await caller.ask(step.action())
    undo = step.compensation()
    await caller.send(undo)
    await killed(first)
    await start()
    (heard, *_) = await caller.heard(undo)
    assert told(heard) == ("succeeded", {})
    assert await world.done(step.key) == ["acted", "undone"]
    assert await world.total() == 2000


async def test_sigterm_drains(caller: Caller, world: World, start: Start) -> None:
    """What is at work is finished and answered; then the process ends well."""
    process = await start()
    await caller.queue_there("bank")
    step = Step("bank.charge", {"account": "a1", "usd": 30, "how": "slow"})
    action = step.action()
    await caller.send(action)
    await asyncio.sleep(0.5)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0
    (heard,) = await caller.heard(action)
    assert told(heard) == ("succeeded", {"id": step.key})
    assert await world.done(step.key) == ["acted"]
