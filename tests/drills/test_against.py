"""Participants behind RabbitMQ, beside an orchestrator that runs there and never notices."""

import asyncio

from pydantic import SecretStr

from amends_contracts.names import StepPath
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.drills import runner
from amends_orchestrator.drills.invariants import Invariant
from amends_orchestrator.drills.matrix import CALM_CELL, Cell, Fault
from amends_orchestrator.drills.outside import AmqpOutside
from amends_orchestrator.drills.results import Verdict
from amends_orchestrator.transport.amqp import AmqpTransport
from amends_participants import create_tables
from amends_participants.runtime import ParticipantSettings, Runtime
from amends_participants.runtime.database import Database
from amends_participants.transport_amqp import AmqpTransport as ParticipantTransport
from drills import bank
from drills.field import BANK, SECRET

TRIED = (Fault.FAILS_BEFORE, Fault.UNDO_FIRST, Fault.PARTICIPANT_KILLED, Fault.CANCELLED)


async def test_a_service_is_drilled_where_it_runs(
    migrated_database_url: str, broker_url: str, wire_prefix: str
) -> None:
    """Replies come to the drill alone: what an orchestrator consumes there gets nothing of it."""
    url, topology = migrated_database_url, Topology(wire_prefix)
    users = AmqpTransport(broker_url, topology, partitions=1, name="users")
    await users.open()
    await users.consume(topology.partition_queue(0), 10)
    settings = ParticipantSettings(
        database_url=SecretStr(url),
        prefix=wire_prefix,
        drill_secret=SecretStr(SECRET),
        hello_s=0.3,
        sweep_s=0.3,
    )
    await bank.create(url)
    database = Database.connect(settings, "bank")
    async with database.engine.begin() as connection:
        await create_tables(connection)
    await database.close()
    runtime = Runtime(
        bank.bank(url), ParticipantTransport(broker_url, topology, name="bank"), settings
    )
    serving = asyncio.create_task(runtime.run())
    order = runner.Order(
        definition=BANK,
        input={},
        invariants=[Invariant(name="balance", sql=bank.BALANCE, database=url, expect=100)],
    )
    opened = runner.opened(
        order,
        AmqpOutside(broker_url, topology),
        topology,
        CelExpressions(),
        database_url=url,
        secret=SECRET,
    )
    async with opened as drill:
        await drill.prepare()
        results = [await drill.cell(CALM_CELL)]
        results += [await drill.cell(Cell(StepPath("wire"), fault)) for fault in TRIED]
        assert [(r.verdict, r.why, r.findings) for r in results] == [
            (Verdict.PASS, "", ()) for _ in results
        ]
        assert await drill.left() == ()
    assert await users.arrived(10, 0) == ()
    runtime.stop()
    await serving
    await users.close()
