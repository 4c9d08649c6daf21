"""`amends-participant`: what it says when it cannot run, and that it runs."""

import asyncio
import json
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from participants.caller import Caller, Step, told
from participants.world import World

TESTS = Path(__file__).parent.parent
PROGRAM = """
from amends_participants import Command, Participant

class Ping(Command[None], name="{name}.ping", effect="transactional", reversal="read_only"):
    pass

app = Participant("{name}")

@app.action(Ping)
async def ping(cmd: Ping) -> None:
    pass
"""


async def run(
    *arguments: str, folder: Path, env: dict[str, str] | None = None, wait: bool = True
) -> tuple[asyncio.subprocess.Process, str]:
    """Run the command in a folder, with this environment and no other settings."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "amends_participants", *arguments),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **(env or {})},
        stderr=asyncio.subprocess.PIPE,
    )
    if not wait:
        return process, ""
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    return process, errors.decode().strip()


def write(folder: Path, name: str = "pings") -> None:
    """A small participant."""
    (folder / f"{name}.py").write_text(PROGRAM.format(name=name))


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["nosuch:app"], {}, 2, "no module 'nosuch' (from 'nosuch:app')"),
        (["pings:other"], {}, 2, "'pings' has no Participant 'other'; it has app"),
        (["json:app"], {}, 2, "it has no Participant at all"),
        (["pings:app"], {}, 1, "set AMENDS_BROKER_URL, for example amqp://"),
        (
            ["pings:app"],
            {"AMENDS_BROKER_URL": "amqp://localhost"},
            1,
            "set AMENDS_DATABASE_URL to this service's own database",
        ),
        (
            ["pings:app"],
            {"AMENDS_CONCURRENCY": "none"},
            2,
            "AMENDS_CONCURRENCY: Input should be a valid integer",
        ),
    ],
)
async def test_what_is_missing_is_said(
    tmp_path: Path, arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    """One sentence on stderr, with what to do, and an exit code: 2 for what was asked wrongly."""
    write(tmp_path)
    process, errors = await run(*arguments, folder=tmp_path, env=env)
    assert (process.returncode, errors.count("\n")) == (code, 0)
    assert errors.startswith("amends-participant: ")
    assert said in errors


async def test_a_wrong_signature_is_refused_with_its_line(tmp_path: Path) -> None:
    """The user's file and line, what is wrong, and what a handler may take."""
    write(tmp_path)
    text = (tmp_path / "pings.py").read_text().replace("cmd: Ping", "cmd: Ping, db: int")
    (tmp_path / "pings.py").write_text(text)
    process, errors = await run("pings:app", folder=tmp_path)
    assert process.returncode == 2
    assert errors == (
        f"amends-participant: {tmp_path}/pings.py:9: ping(): parameter 'db' is annotated int; an"
        " action of Ping takes any of cmd: Ping, tx: AsyncConnection, session: AsyncSession,"
        " effect: Effect"
    )


async def test_several_apps_in_one_process(
    tmp_path: Path, caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """Two services, their tables made at the start, ready by HTTP, gone on SIGTERM."""
    write(tmp_path, "pings")
    write(tmp_path, "pongs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "AMENDS_BROKER_URL": broker_url,
        "AMENDS_DATABASE_URL": world.url,
        "AMENDS_PREFIX": wire_prefix,
        "AMENDS_HEALTH_PORT": str(port),
    }
    async with world.engine.begin() as conn:
        for table in ("amends_reply", "amends_intent", "amends_instance", "amends_barrier"):
            await conn.exec_driver_sql(f"DROP TABLE {table}")
    process, _ = await run("pings:app", "pongs:app", folder=tmp_path, env=env, wait=False)
    for service in ("pings", "pongs"):
        await caller.queue_there(service)
        assert told(await caller.ask(Step(f"{service}.ping", {}).action())) == ("succeeded", {})
    assert await asyncio.to_thread(get, port, "/readyz") == {"status": "ready"}
    assert await asyncio.to_thread(get, port, "/healthz") == {"status": "alive"}
    process.terminate()
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()


def get(port: int, path: str) -> object:
    """A page as JSON."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return json.load(answer)
