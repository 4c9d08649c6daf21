"""`amends doctor`: each thing that can be wrong is found and comes with what to do."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_orchestrator.core import state_to_json
from amends_orchestrator.engine.ports import Batch, SagaWrite, StartKey
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.store.hello import commands_to_json
from cli.fake_service import FakeService
from cli.running import Amends
from core.dsl import IDENTITY, action, definition, given


def found(ran_out: dict[str, Any], check: str) -> dict[str, str]:
    """One finding."""
    return next(f for f in ran_out["findings"] if f["check"] == check)


def execute(url: str, *statements: str) -> None:
    """Change the database by hand."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def test_a_database_that_is_away_is_said_and_nothing_hangs(
    amends: Amends, service: FakeService
) -> None:
    """The other checks still run."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    url = "postgresql://u:s3cret@127.0.0.1:9/x"

    ran = amends("doctor", "--database-url", url, "--json")

    assert ran.code == 1
    assert found(ran.json, "database")["level"] == "bad"
    assert found(ran.json, "service")["level"] == "ok"
    assert "s3cret" not in ran.out


def test_a_database_without_tables_is_told_to_be_migrated(
    amends: Amends, service: FakeService, database_url: str
) -> None:
    """With the command that does it."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})

    ran = amends("doctor", "--database-url", database_url, "--json")

    assert ran.code == 1
    assert found(ran.json, "migrations")["do"] == "Run `amends migrate`."


def test_nobody_runs(amends: Amends, service: FakeService, migrated_database_url: str) -> None:
    """No orchestrator, no service: both are said."""
    problem = {"status": "not-ready", "checks": {"engine": False}}
    service.on("GET", "/readyz", problem, status=503)

    ran = amends("doctor", "--database-url", migrated_database_url, "--json")

    assert ran.code == 1
    assert found(ran.json, "orchestrators")["said"] == "none is running"
    assert found(ran.json, "service")["level"] == "bad"
    assert found(ran.json, "clock")["level"] == "ok"


def test_stuck_sagas_are_named(
    amends: Amends, service: FakeService, migrated_database_url: str
) -> None:
    """With the commands that help."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    saga_id = "01976f3e-8a4b-7c1d-9e2f-3a4b5c6d7e8f"
    execute(
        migrated_database_url,
        "INSERT INTO amends.saga (id, started_at, wake_at, version, seq, partition, tenant,"
        " definition, key, status, state) VALUES"
        f" ('{saga_id}', now(), now(), 1, 1, 0, 'default', 'trip', 'k', 'stuck', '{{}}')",
    )

    ran = amends("doctor", "--database-url", migrated_database_url, "--json")

    sagas = found(ran.json, "sagas")
    assert (sagas["level"], saga_id in sagas["said"]) == ("bad", True)
    assert "amends show" in sagas["do"]


async def keep_a_saga(url: str) -> str:
    """Store a saga that has just begun, as an orchestrator would; its id."""
    saga = given(definition(action("a")))
    store = await PostgresStore.open(url, allow_unsafe=True)
    write = SagaWrite(
        identity=IDENTITY,
        loaded_seq=0,
        seq=saga.saga.seq,
        status=saga.saga.status,
        state=state_to_json(saga.saga.state),
        wake_at=saga.saga.wake_at,
        residue=0,
        rows=tuple(saga.rows),
        start=StartKey(tenant="default", definition="test", key="order-1"),
        input_digest="d",
    )
    document = definition(action("a")).model_dump(mode="json", by_alias=True)
    try:
        await store.commit(Batch(orchestrator=uuid4(), sagas=(write,)))
        await Definitions(store.engine).register(document, "d")
    finally:
        await store.close()
    return IDENTITY.saga_id


def test_broken_promises_are_found(
    amends: Amends, service: FakeService, migrated_database_url: str
) -> None:
    """A saga as it was written keeps them; one whose journal lost a row does not."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    saga_id = asyncio.run(keep_a_saga(migrated_database_url))
    ran = amends("doctor", "--database-url", migrated_database_url, "--json")
    promises = found(ran.json, "promises")
    assert (promises["level"], "newest 1 sagas" in promises["said"]) == ("ok", True)

    execute(migrated_database_url, "DELETE FROM amends.journal WHERE seq = 2")

    ran = amends("doctor", "--database-url", migrated_database_url, "--json")
    promises = found(ran.json, "promises")
    assert promises["level"] == "bad"
    assert f"promise 8: {saga_id}" in promises["said"]


def test_a_broker_that_is_away_is_said(
    amends: Amends, service: FakeService, migrated_database_url: str
) -> None:
    """Sagas wait meanwhile; its password is not printed."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})

    ran = amends(
        *("doctor", "--database-url", migrated_database_url),
        *("--broker-url", "amqp://u:s3cret@127.0.0.1:9/", "--json"),
    )

    assert found(ran.json, "broker")["level"] == "bad"
    assert "s3cret" not in ran.out


def test_a_broker_without_our_queues_is_said(
    amends: Amends,
    service: FakeService,
    migrated_database_url: str,
    broker_url: str,
    wire_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No orchestrator has ever run on it; a service that a definition names is not there."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    monkeypatch.setenv("AMENDS_PREFIX", wire_prefix)
    document = json.dumps({"name": "trip", "steps": [{"command": "flights.reserve"}]})
    execute(
        migrated_database_url,
        "INSERT INTO amends.definition (name, version, digest, document)"
        f" VALUES ('trip', 1, 'd', '{document}')",
    )

    ran = amends(
        *("doctor", "--database-url", migrated_database_url, "--broker-url", broker_url, "--json")
    )

    assert found(ran.json, "queues")["level"] == "bad"
    assert found(ran.json, "service flights")["level"] == "note"
    assert "undeliverable" in found(ran.json, "service flights")["said"]


def test_wrong_settings_are_named_and_secrets_are_not(
    amends: Amends, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable with what is wrong with it."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    monkeypatch.setenv("AMENDS_DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:9/x")
    monkeypatch.setenv("AMENDS_BROKER_URL", "amqp://u:s3cret@127.0.0.1:9/")
    monkeypatch.setenv("AMENDS_TOKEN_SECRETS", "hush")
    monkeypatch.setenv("AMENDS_BATCH_MAX", "none")

    ran = amends("doctor", "--json")

    settings = found(ran.json, "settings")
    assert settings["level"] == "bad"
    assert "AMENDS_BATCH_MAX" in settings["said"]
    assert "AMENDS_TOKEN_SECRETS" in settings["said"]
    assert "hush" not in ran.out + ran.err
    assert "s3cret" not in ran.out + ran.err


def test_for_people_each_finding_has_a_line_and_what_to_do(
    amends: Amends, service: FakeService, database_url: str
) -> None:
    """A mark, what was looked at, what was seen; below it what to do."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})

    lines = amends("doctor", "--database-url", database_url).out.splitlines()

    at = next(n for n, line in enumerate(lines) if "migrations" in line)
    assert lines[at].split()[:2] == ["✘", "migrations"]
    assert lines[at + 1].strip() == "Run `amends migrate`."


DOCUMENT = {
    "name": "trip",
    "version": 1,
    "steps": [
        {
            "kind": "action",
            "id": "flight",
            "command": "flights.reserve",
            "compensation": {"command": "flights.release"},
        }
    ],
}


def test_a_command_that_running_sagas_need_and_nobody_offers_is_a_warning(
    amends: Amends, service: FakeService, migrated_database_url: str
) -> None:
    """Its compensation alone, too; not when somebody offers it, nor when the sagas have ended."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    dropped = CommandInfo(Effect.KEYED, Reversal.IRREVERSIBLE)
    offered = json.dumps(commands_to_json({"flights.reserve": dropped}))
    execute(
        migrated_database_url,
        "INSERT INTO amends.definition (name, version, digest, document)"
        f" VALUES ('trip', 1, 'd', '{json.dumps(DOCUMENT)}')",
        "INSERT INTO amends.participant (service, instance, accepts, commands, seen_at)"
        f" VALUES ('flights', 'i-2', '{{}}', '{offered}', clock_timestamp())",
        "INSERT INTO amends.saga (id, started_at, wake_at, version, seq, partition, tenant,"
        " definition, key, status, state) VALUES (gen_random_uuid(), now(), now(), 1, 1, 0, 't',"
        " 'trip', 'k', 'running', '{}')",
    )

    def warned() -> list[dict[str, str]]:
        ran = amends("doctor", "--database-url", migrated_database_url, "--json")
        return [f for f in ran.json["findings"] if f["check"].startswith("command ")]

    assert warned() == [
        {
            "check": "command flights.release",
            "level": "note",
            "said": "no running flights offers it, and sagas of trip@1 may need it",
            "do": "Run the release of flights that serves it beside the new one, until "
            "`amends definitions trip` shows none open and none undoable.",
        }
    ]
    old = CommandInfo(Effect.KEYED, Reversal.COMPENSATABLE, compensation="flights.release")
    offered = json.dumps(commands_to_json({"flights.reserve": old}))
    execute(
        migrated_database_url,
        "INSERT INTO amends.participant (service, instance, accepts, commands, seen_at)"
        f" VALUES ('flights', 'i-1', '{{}}', '{offered}', clock_timestamp())",
    )
    assert warned() == []
    execute(
        migrated_database_url,
        "DELETE FROM amends.participant WHERE instance = 'i-1'",
        "UPDATE amends.saga SET status = 'completed', wake_at = NULL, ended_at = now()",
    )
    assert warned() == []


def test_queues_for_permits_are_shown(
    amends: Amends, service: FakeService, migrated_database_url: str
) -> None:
    """How long they are; a grant that its saga never heard is wrong."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    permit = (
        "INSERT INTO amends.permit (saga_id, step, ask, pool, tenant, key, concurrency, asked_at,"
        " state, granted_at) VALUES (gen_random_uuid(), 'room', 2, 'hotels', 'default', '', 1,"
    )
    execute(migrated_database_url, f"{permit} now(), 'waiting', NULL)")
    ran = amends("doctor", "--database-url", migrated_database_url, "--json")
    assert found(ran.json, "permits") == {
        "check": "permits",
        "level": "note",
        "said": "1 wait at hotels (0 at work)",
        "do": "A rate holds them, or their sagas are suspended: `amends show ID`. Look again.",
    }
    execute(migrated_database_url, f"{permit} now(), 'granted', now() - interval '2 hours')")
    ran = amends("doctor", "--database-url", migrated_database_url, "--json")
    assert found(ran.json, "permits")["level"] == "bad"
    assert found(ran.json, "permits")["said"] == (
        "1 wait at hotels (1 at work); a grant has not reached its saga for 2 h 0 min"
    )


def test_a_participant_that_is_held_off_is_shown(
    amends: Amends, service: FakeService, migrated_database_url: str
) -> None:
    """With what is thought of it."""
    service.on("GET", "/readyz", {"status": "ready", "checks": {}})
    execute(
        migrated_database_url,
        "INSERT INTO amends.orchestrator SELECT gen_random_uuid(), now(), now() + '1 h', true",
        "INSERT INTO amends.circuit SELECT 'hotels', id, 'open', 5, 9, 1, now()"
        " FROM amends.orchestrator",
    )
    ran = amends("doctor", "--database-url", migrated_database_url, "--json")
    assert found(ran.json, "circuit hotels") == {
        "check": "circuit hotels",
        "level": "bad",
        "said": "5 of its last 9 outcomes were no answer: new attempts wait",
        "do": "See its log; it is tried again by itself, at once when it says hello.",
    }
