"""Services that are right pass: a plain one, the SDK with all its effect classes, FastStream."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from faststream.rabbit import RabbitBroker

from amends_amqp.connection import Connection
from amends_contracts.topology import Topology
from amends_orchestrator.conform.examples import read_examples
from amends_orchestrator.conform.report import Report
from amends_participants import Participant, create_tables
from conform.plain import TOTAL
from conform.playing import Place, failures, passed, skipped
from participants.bank import bank
from participants.running import running, settings_for
from participants.test_faststream import bank as faststream_bank
from participants.world import World

ENTRIES = "SELECT count(*) FILTER (WHERE what = 'acted') - count(*) FILTER (WHERE what = 'undone')"
OBSERVE = f"{ENTRIES} FROM done WHERE key = $1"
FAILING = "failing: {account: a1, usd: 1, how: failed before}"
COMMANDS = ("bank.charge", "bank.wire", "bank.post", "bank.shout")
BANK = "commands:\n" + "".join(f"  {name}:\n    {FAILING}\n" for name in COMMANDS)
ANY_EFFECT = """SELECT count(*) > 0 FROM pg_stat_user_tables
    WHERE relname = 'step' AND pg_relation_size(relid) > 0"""
NOT_TOLD = {"turn", "envelopes", "crash-memory", "crash-midway"}


async def test_a_plain_service(place: Place) -> None:
    """It passes, offers neither probe nor ledger and says so, and is as it was before."""
    async with place.till():
        report = await place.play()
    assert (failures(report), report.left) == ({}, ())
    assert skipped(report) == {
        "probe": "it does not offer probes, and says so",
        "ledger": "it does not offer a ledger, and says so",
        "envelopes": "no hello heard",
        "crash-memory": "it cannot be killed: give --restart, and --pid",
        "crash-midway": "it cannot be killed: give --restart, and --pid",
        "hello": "none was heard; it is optional",
    }


@pytest.mark.parametrize("observe", [TOTAL, None], ids=["a sum of all", "replies alone"])
async def test_a_plain_service_of_which_less_is_seen(place: Place, observe: str | None) -> None:
    """Whose effect stands is not told then; the rest is."""
    async with place.till():
        report = await place.play(observe=observe)
    assert (failures(report), report.left) == ({}, ())
    assert "cannot be seen whose effect stands" in skipped(report)["undo-of-its-own"]


async def test_what_cannot_be_undone_is_played_if_it_is_said(place: Place) -> None:
    """Its effects stay, and it is told how many."""
    said = "{input: {}, reversal: irreversible, run: true}"
    examples = read_examples(f"commands: {{till.charge: {said}}}", "till")
    async with place.till():
        report = await place.play("duplicates", examples=examples)
    assert (failures(report), report.left) == ({}, ())
    assert report.notes[1] == "till.charge: up to 2 effects stay, for it cannot be undone"


async def test_a_run_that_is_interrupted_takes_back_what_it_did(place: Place) -> None:
    """Also what it was at; its queues go with it."""
    world = World(place.database_url)
    async with place.till():
        run = asyncio.create_task(place.play("duplicates", "undo-of-its-own", "race"))
        while not await world.scalar(ANY_EFFECT):
            assert not run.done()
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run])
        assert (run.cancelled(), await world.scalar(TOTAL)) == (True, 0)
    await world.engine.dispose()


async def test_a_service_that_takes_envelopes(place: Place) -> None:
    """Its hello announces them; members are answered each by itself."""
    async with place.till(envelopes=True):
        report = await place.play("envelopes", hello_s=20.0)
    assert (failures(report), report.left) == ({}, ())
    assert {"envelopes", "hello"} <= passed(report)


@pytest.mark.slow
async def test_a_plain_service_that_is_killed(place: Place) -> None:
    """It remembers all, answers what it was at, and is ended when the run is over."""
    report = await place.play("crash-memory", "crash-midway", restart=place.restart())
    assert (failures(report), report.left) == ({}, ())
    assert {"crash-memory", "crash-midway"} <= passed(report)


@asynccontextmanager
async def serving(place: Place, app: Participant, world: World) -> AsyncGenerator[None]:
    """A participant of the SDK that says hello often."""
    async with world.engine.begin() as conn:
        await create_tables(conn)
        await world.create(conn)
    settings = settings_for(place.broker_url, place.database_url, place.prefix, hello_s=0.2)
    async with running(app, settings):
        yield
    await world.engine.dispose()


async def play_bank(place: Place, app: Participant, world: World, **more: Any) -> Report:
    """Play against a bank, told of by its hello and by what makes it fail."""
    await open_exchanges(place)
    async with serving(place, app, world):
        asked: dict[str, Any] = {
            "service": "bank",
            "examples": None,
            "observe": OBSERVE,
            "hello_s": 20.0,
            **more,
        }
        return await place.play(**asked)


async def open_exchanges(place: Place) -> None:
    """What an orchestrator declares, so that a participant need not wait."""
    connection = await Connection.connect(place.broker_url, name="test")
    for exchange in Topology(place.prefix).exchanges():
        await connection.declare_exchange(exchange.name, exchange.type)
    await connection.close()


async def test_the_sdk_with_all_classes(place: Place) -> None:
    """All four effect classes pass what can be played, seen by all three ways."""
    world = World(place.database_url)
    examples = read_examples(BANK, "bank")
    report = await play_bank(place, bank(world), world, examples=examples)
    assert (failures(report), report.left) == ({}, ())
    assert set(skipped(report)) <= NOT_TOLD
    assert report.notes == tuple(
        f"{name}: effects seen by --observe by key, probe, ledger" for name in sorted(COMMANDS)
    )


async def test_the_faststream_adapter_by_its_hello_alone(place: Place) -> None:
    """Inputs are made from the schemas that it announces."""
    world = World(place.database_url)
    app = faststream_bank(RabbitBroker(place.broker_url), place.prefix)
    report = await play_bank(place, app, world, observe=None)
    assert (failures(report), report.left) == ({}, ())
    assert set(skipped(report)) <= NOT_TOLD
