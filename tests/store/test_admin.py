"""Definitions, API keys and audit: what people and their programs write."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from amends_orchestrator.engine.ports import BadData
from amends_orchestrator.store import ApiKeys, Audit, Definitions, PostgresStore
from amends_orchestrator.store.definitions import Debt, Registered
from amends_orchestrator.store.keys import Principal, Scope, prefix_of
from conformance.stores import batch, new_saga, saga_id

TRIP = {"name": "book-trip", "version": 1, "steps": [{"id": "flight", "ß": None}]}


# --- definitions -------------------------------------------------------------------------------


async def test_a_version_is_registered_once(store: PostgresStore) -> None:
    """The same content again is the same; other content under the version is a conflict."""
    definitions = Definitions(store.engine)
    assert await definitions.register(TRIP, "d1") == Registered.CREATED
    assert await definitions.register(TRIP, "d1") == Registered.SAME
    other = {**TRIP, "steps": []}
    assert await definitions.register(other, "d2") == Registered.CONFLICT
    row = await definitions.get("book-trip")
    assert row is not None
    assert (row.name, row.version, row.digest, row.document) == ("book-trip", 1, "d1", TRIP)
    assert await store.definition("book-trip", None) == (1, TRIP)


async def test_of_concurrent_registrations_one_creates(store: PostgresStore) -> None:
    """The others see the same content, or the conflict."""
    definitions = Definitions(store.engine)
    answers = await asyncio.gather(
        *(definitions.register({**TRIP, "n": n % 2}, f"d{n % 2}") for n in range(6))
    )
    assert (
        sorted(answers) == [Registered.CONFLICT] * 3 + [Registered.CREATED] + [Registered.SAME] * 2
    )


async def test_the_newest_version_is_the_default(store: PostgresStore) -> None:
    """Versions are compared as numbers."""
    definitions = Definitions(store.engine)
    for version in (9, 10, 2):
        await definitions.register({**TRIP, "version": version}, f"d{version}")
    await definitions.register({**TRIP, "name": "refund"}, "r1")
    newest = await definitions.get("book-trip")
    assert newest is not None
    assert newest.version == 10
    second = await definitions.get("book-trip", 2)
    assert second is not None
    assert second.digest == "d2"
    assert await definitions.get("book-trip", 3) is None
    assert [d.version for d in await definitions.list("book-trip")] == [10, 9, 2]
    assert [(d.name, d.version) for d in await definitions.list()] == [
        ("book-trip", 10),
        ("refund", 1),
    ]
    assert await store.definition("book-trip", None) == (10, {**TRIP, "version": 10})
    assert await store.definition("book-trip", 2) == (2, {**TRIP, "version": 2})


async def test_a_version_is_retired_when_it_owes_nothing(store: PostgresStore) -> None:
    """It takes no starts then, an older one does, and it is still there to be read."""
    definitions = Definitions(store.engine)
    for version in (1, 2):
        await definitions.register({**TRIP, "version": version}, f"d{version}")
    newest = await definitions.get("book-trip")
    assert newest is not None
    assert await definitions.retire(newest) == Debt(open=0, undoable=0)
    assert (await store.is_retired("book-trip", 2), await store.is_retired("book-trip", 1)) == (
        True,
        False,
    )
    assert await store.definition("book-trip", None) == (1, {**TRIP, "version": 1})
    assert await store.definition("book-trip", 2) == (2, {**TRIP, "version": 2})
    there = await definitions.get("book-trip", 2)
    assert there is not None
    assert there.retired_at is not None
    assert await definitions.retire(there) == Debt(open=0, undoable=0)
    assert await definitions.get("book-trip", 2) == there


async def test_a_version_that_owes_something_is_not_retired(store: PostgresStore) -> None:
    """Sagas on their way, and completed ones whose window is open, of any tenant."""
    definitions = Definitions(store.engine)
    step = {"kind": "action", "id": "flight", "compensable_for": "PT1H"}
    for version, steps in ((1, [step]), (2, [])):
        await definitions.register({**TRIP, "version": version, "steps": steps}, f"d{version}")
    rows = await definitions.list("book-trip")
    await ended_saga(store, "completed", hours_ago=0.5)
    await ended_saga(store, "completed", hours_ago=2)
    await ended_saga(store, "compensated", hours_ago=0.5)
    running = new_saga(await now(store), tenant="other")
    await store.commit(batch(running, orchestrator=uuid4()))

    assert [(row.version, await definitions.debt(row)) for row in rows] == [
        (2, Debt(open=0, undoable=0)),
        (1, Debt(open=1, undoable=1)),
    ]
    assert await definitions.retire(rows[1]) == Debt(open=1, undoable=1)
    assert not await store.is_retired("book-trip", 1)


async def ended_saga(store: PostgresStore, status: str, *, hours_ago: float) -> None:
    """A saga of `book-trip@1` that has ended."""
    insert = text(
        "INSERT INTO amends.saga (id, started_at, ended_at, version, seq, partition, tenant,"
        " definition, key, status, state) SELECT gen_random_uuid(), at, at, 1, 1, 0, 'acme',"
        " 'book-trip', gen_random_uuid()::text, :status, '{}'"
        " FROM (SELECT clock_timestamp() - make_interval(secs => :ago) AS at) AS ended"
    )
    async with store.engine.begin() as connection:
        await connection.execute(insert, {"status": status, "ago": hours_ago * 3600})


async def now(store: PostgresStore) -> datetime:
    """The database's time."""
    async with store.engine.connect() as connection:
        return (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()


# --- keys --------------------------------------------------------------------------------------


async def test_a_key_opens_until_it_is_revoked(store: PostgresStore) -> None:
    """Its holder is known by name, tenant and scope."""
    keys = ApiKeys(store.engine)
    key = await keys.create("ci", "acme", "operator")
    assert await keys.check(key) == Principal("ci", "acme", Scope.OPERATOR)
    assert await keys.revoke("ci")
    assert await keys.check(key) is None
    assert not await keys.revoke("ci")


async def test_only_its_hash_is_kept(store: PostgresStore) -> None:
    """Neither the key nor its secret part stands anywhere in the table."""
    keys = ApiKeys(store.engine)
    key = await keys.create("ci", "acme", "viewer")
    async with store.engine.connect() as connection:
        table = await connection.exec_driver_sql("SELECT api_key::text FROM amends.api_key")
        text = "".join(row[0] for row in table)
    secret = key.split("_", 2)[2]
    assert len(secret) >= 43
    assert secret not in text
    assert secret.encode().hex() not in text
    prefix = prefix_of(key)
    assert prefix is not None
    assert prefix in text


@pytest.mark.parametrize("scope", list(Scope))
async def test_every_scope_can_be_given(store: PostgresStore, scope: Scope) -> None:
    """Those of the API, and no others."""
    keys = ApiKeys(store.engine)
    principal = await keys.check(await keys.create("k", "acme", scope))
    assert principal is not None
    assert principal.scope is scope
    with pytest.raises(ValueError, match="root"):
        await keys.create("k", "acme", "root")


async def test_what_is_not_the_key_opens_nothing(store: PostgresStore) -> None:
    """A changed secret, a prefix alone, rubbish and characters no key has."""
    keys = ApiKeys(store.engine)
    key = await keys.create("ci", "acme", "admin")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    prefix = key.rsplit("_", 1)[0]
    for attempt in (wrong, prefix, key.upper(), "", "amends__", "amends_x_y", "ß\0\ud800", key * 2):
        assert await keys.check(attempt) is None, attempt


async def test_a_key_ends_by_itself(store: PostgresStore) -> None:
    """`expires_at` is compared with the database's clock; ended keys are not listed."""
    keys = ApiKeys(store.engine)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    good = await keys.create("good", "acme", "viewer", expires_at=soon)
    ended = await keys.create("ended", "acme", "viewer", expires_at=soon - timedelta(hours=1))
    assert await keys.check(good) is not None
    assert await keys.check(ended) is None
    assert [(k.name, k.expires_at) for k in await keys.list()] == [("good", soon)]


async def test_two_keys_may_share_a_name(store: PostgresStore) -> None:
    """To rotate, make a second one; revoking by prefix ends one, by name both."""
    keys = ApiKeys(store.engine)
    first, second = [await keys.create("ci", "acme", "viewer") for _ in range(2)]
    assert first != second
    assert await keys.revoke(prefix_of(first) or "")
    assert await keys.check(first) is None
    assert await keys.check(second) is not None
    third = await keys.create("ci", "acme", "viewer")
    assert await keys.revoke("ci")
    assert [await keys.check(k) for k in (second, third)] == [None, None]


async def test_a_broker_user_speaks_through_a_key(store: PostgresStore) -> None:
    """Its tenant and scope are the key's; one key per user, and none after revoking."""
    keys = ApiKeys(store.engine)
    await keys.create("shop", "acme", "starter", broker_user="shop")
    assert await keys.tenant_of_user("shop") == Principal("shop", "acme", Scope.STARTER)
    assert await keys.tenant_of_user("guest") is None
    with pytest.raises(BadData):
        await keys.create("thief", "other", "starter", broker_user="shop")
    assert await keys.revoke("shop")
    assert await keys.tenant_of_user("shop") is None
    await keys.create("new", "beta", "starter", broker_user="shop")
    assert await keys.tenant_of_user("shop") == Principal("new", "beta", Scope.STARTER)


# --- audit -------------------------------------------------------------------------------------


async def test_the_audit_is_read_newest_first(store: PostgresStore) -> None:
    """By tenant, by saga, in pages."""
    audit = Audit(store.engine)
    saga = saga_id()
    for n in range(3):
        await audit.record(
            tenant="acme",
            who="ada",
            action="retry",
            saga_id=saga,
            step="flight",
            reason=f"try {n}",
            outcome="done",
        )
    await audit.record(
        tenant="acme", who="bob", action="key.create", subject="a1b2", outcome="done"
    )
    await audit.record(tenant="other", who="eve", action="skip", saga_id=saga, outcome="refused")
    rows = await audit.list("acme", limit=2)
    assert [(r.who, r.action, r.subject, r.reason) for r in rows] == [
        ("bob", "key.create", "a1b2", None),
        ("ada", "retry", None, "try 2"),
    ]
    older = await audit.list("acme", before=rows[-1].id)
    assert [(r.reason, r.saga_id, r.step, r.outcome) for r in older] == [
        ("try 1", saga, "flight", "done"),
        ("try 0", saga, "flight", "done"),
    ]
    assert [r.who for r in await audit.list("acme", saga_id=saga)] == ["ada"] * 3
    assert [r.who for r in await audit.list("other", saga_id=saga)] == ["eve"]
