"""`amends conform` as people and scripts call it: what goes wrong before anything is checked."""

import asyncio
import json
from pathlib import Path

import pytest

from amends_amqp.connection import Connection
from amends_contracts.amqp import AmqpMessage
from amends_contracts.topology import Topology
from amends_orchestrator.local import servers
from cli.running import Amends, in_process
from conform.playing import TILL, Place, failures
from conform.test_right import open_exchanges

NOWHERE = "amqp://guest:s3cret@127.0.0.1:1/"


@pytest.fixture
def amends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Amends:
    """Run `amends` with these arguments, where nothing else names a broker."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "till.yaml").write_text(TILL)
    monkeypatch.delenv("AMENDS_BROKER_URL", raising=False)
    return in_process(capsys)


def written(folder: Path) -> list[str]:
    """The beginnings of the files that a run was asked for."""
    return [(folder / name).read_text().split(" ")[0] for name in ("till.xml", "till.svg")]


@pytest.mark.parametrize(
    ("arguments", "code", "said", "do"),
    [
        (["--against", NOWHERE], 3, "127.0.0.1:1", "Check --against"),
        ([], 3, "No broker is known here.", "Give --against"),
        (["--against", "http://x"], 3, "begins with amqp://", "Check --against"),
        (["--commands", "none.yaml", "--against", NOWHERE], 2, "none.yaml: No such", "Name a file"),
        (["--only", "all", "--against", NOWHERE], 2, "there is no check 'all'", "duplicates"),
        (["--pid", "1", "--against", NOWHERE], 2, "nothing would start it", "--restart"),
    ],
)
def test_what_is_wrong_is_said(
    amends: Amends, arguments: list[str], code: int, said: str, do: str
) -> None:
    """With what to do, an exit code of its own, and without a password."""
    ran = amends("conform", "--service", "till", *arguments, "--json")
    error = json.loads(ran.err)
    assert (ran.code, said in error["error"], do in error["do"]) == (code, True, True), error
    assert "s3cret" not in ran.err


async def test_a_service_that_nobody_runs(
    amends: Amends, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whose name is another: what was looked for and where, and no queue is left."""
    monkeypatch.setattr("amends_orchestrator.conform.run.SERVICE_S", 0.2)
    asked = ("--service", "tilt", "--against", place.broker_url, "--prefix", place.prefix)
    ran = await asyncio.to_thread(amends, "conform", *asked, "--json")
    error = json.loads(ran.err)
    assert ran.code == 4
    assert f"nobody has declared {place.prefix}.do.tilt" in error["error"]
    assert place.prefix in error["do"]


async def test_a_service_that_says_nothing_of_its_commands(amends: Amends, place: Place) -> None:
    """A file is asked for, and its beginning is shown."""
    await open_exchanges(place)
    asked = ("--service", "till", "--against", place.broker_url, "--prefix", place.prefix)
    async with place.till():
        ran = await asyncio.to_thread(amends, "conform", *asked, "--hello-within", "0", "--json")
    error = json.loads(ran.err)
    assert (ran.code, "no hello that names a command" in error["error"]) == (2, True)
    assert "commands:\n  till.…:\n    input:" in error["do"]


async def test_an_observation_that_is_no_number(amends: Amends, place: Place) -> None:
    """It is said which and what it gave."""
    asked = ("--service", "till", "--against", place.broker_url, "--prefix", place.prefix)
    more = ("--commands", "till.yaml", "--observe", "echo many", "--json")
    async with place.till():
        ran = await asyncio.to_thread(amends, "conform", *asked, *more)
    error = json.loads(ran.err)
    assert (ran.code, error["error"]) == (
        2,
        "--observe is to give one number and gave 'many\\n': echo many",
    )


async def test_a_run_writes_what_it_is_asked_for_and_leaves_no_queue(
    amends: Amends, place: Place, rabbitmq_server: servers.Broker, tmp_path: Path
) -> None:
    """Table, JUnit XML and badge; its queues are gone, the service's and the exchanges stay."""
    asked = ("--service", "till", "--against", place.broker_url, "--prefix", place.prefix)
    files = ("--commands", "till.yaml", "--junit", "till.xml", "--badge", "till.svg")
    async with place.till():
        ran = await asyncio.to_thread(amends, "conform", *asked, *files, "--only", "undo")
    assert (ran.code, "till conforms: " in ran.out) == (0, True), ran.err
    assert sorted(written(tmp_path)) == ["<?xml", "<svg"]
    if not isinstance(rabbitmq_server, servers.Given):
        listed = rabbitmq_server.ctl("list_queues", "name", "--quiet")
        mine = {line for line in listed.split() if line.startswith(place.prefix)}
        assert mine == {f"{place.prefix}.do.till", f"{place.prefix}.undo.till"}


async def test_its_dead_letters_are_taken_away_and_others_stay(place: Place) -> None:
    """What `amends.dead` held before, it holds afterwards."""
    await open_exchanges(place)
    topology = Topology(place.prefix)
    dead = topology.engine_queues(1)[0]
    connection = await Connection.connect(place.broker_url, name="test")
    await connection.declare_queue(dead.name, dead.arguments)
    await connection.bind(dead.name, topology.dead, "")
    async with place.till():
        other = AmqpMessage(exchange=topology.dead, routing_key="", body=b"{}", message_id="other")
        await connection.publish([other], 10)
        assert "undecodable" not in failures(await place.play("undecodable"))
    heard: list[str | None] = []
    told = asyncio.Event()

    def receive(message: AmqpMessage, tag: int, redelivered: bool) -> None:
        heard.append(message.message_id)
        told.set()

    await connection.consume(dead.name, 10, receive)
    await asyncio.wait_for(told.wait(), 20)
    await connection.close()
    assert heard == ["other"]
