"""The service `till`, plain and right, or wrong in one way that is asked for: see `FLAWS`.

With `envelopes` it says hello, announces `batch`, and takes them. Its effects are entries: a charge
takes 30, a refund gives 30 back, each under the action's key.
`python -m conform.plain` runs it as a process that can be killed; TILL_FLAW names the flaw.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, cast

import aio_pika
import asyncpg
from aio_pika.abc import AbstractIncomingMessage

TABLES = """
CREATE TABLE IF NOT EXISTS step (
    key text PRIMARY KEY, state text NOT NULL, attempt integer NOT NULL, digest text,
    attempt_first integer, reply text);
CREATE TABLE IF NOT EXISTS entry (n serial PRIMARY KEY, key text NOT NULL, usd integer NOT NULL);
"""
OBSERVE = "SELECT coalesce(sum(usd), 0) FROM entry WHERE key = $1"
TOTAL = "SELECT coalesce(sum(usd), 0) FROM entry"
NEWEST = """SELECT key FROM entry WHERE key NOT IN (SELECT key FROM entry WHERE usd > 0)
    AND key <> $1 ORDER BY n DESC LIMIT 1"""

FLAWS = frozenset(
    {
        "acknowledges before it replies",
        "acts after its undo",
        "acts on an undone key again",
        "another saga's undo",
        "answers before it commits",
        "compares an undo's digest",
        "does not know forgotten",
        "echoes the first delivery",
        "echoes no token",
        "failed after an effect",
        "finds late undos by their saga",
        "forgets tombstones at a restart",
        "ignores the digest",
        "ignores the key",
        "looks without a lock",
        "loses what cannot be read",
        "needs the output to undo",
        "other queues",
        "reads integers only",
        "refunds each time",
        "refunds a part",
        "refunds nothing",
        "refuses what it does not know for now",
        "undoes the newest first",
    }
)


@dataclass
class Member:
    """A message out of an envelope, which is acknowledged as a whole."""

    headers: dict[str, Any]
    body: bytes
    type: str
    message_id: str
    correlation_id: str
    reply_to: str

    async def ack(self) -> None:
        """The envelope is, later."""

    async def reject(self) -> None:
        """No member of a test is."""
        raise AssertionError(self)


Incoming = AbstractIncomingMessage | Member


class Plain:
    """The service, over its own connection and pool."""

    def __init__(
        self,
        broker_url: str,
        database_url: str,
        prefix: str,
        flaw: str = "",
        *,
        envelopes: bool = False,
    ) -> None:
        assert not flaw or flaw in FLAWS
        self.envelopes = envelopes
        self.urls = broker_url, database_url
        self.prefix = prefix
        self.flaw = flaw
        self.tombstones: set[str] = set()
        self.early = 0
        """Messages that were acknowledged before they were answered."""
        self.digests: dict[str, str] = {}

    async def start(self) -> None:
        """Declare the two queues and consume them."""
        self.pool: Any = await asyncpg.create_pool(self.urls[1], min_size=1, max_size=8)
        await self.pool.execute(TABLES)
        self.connection = await aio_pika.connect_robust(self.urls[0])
        while True:
            channel = await self.connection.channel(on_return_raises=False)
            try:
                commands = await channel.get_exchange(f"{self.prefix}.commands")
                self.replies = await channel.get_exchange(f"{self.prefix}.replies")
                break
            except aio_pika.exceptions.ChannelClosed:
                await asyncio.sleep(0.1)
        await channel.set_qos(prefetch_count=8)
        arguments: Any = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-delivery-limit": 5 if self.flaw == "other queues" else 20,
            "x-dead-letter-exchange": f"{self.prefix}.dead",
            "x-dead-letter-strategy": "at-least-once",
        }
        for lane in ("do", "undo"):
            name = f"{self.prefix}.{lane}.till"
            queue = await channel.declare_queue(name, durable=True, arguments=arguments)
            await queue.bind(commands, f"{lane}.till.#")
            await queue.consume(self.receive)
            if self.envelopes:
                batch = await channel.declare_queue(f"{name}.batch", durable=True)
                await batch.bind(f"{self.prefix}.batches", f"{name}.batch")
                await batch.consume(self.unpack)
        self.greeting = asyncio.create_task(self.greet(channel)) if self.envelopes else None

    async def greet(self, channel: Any) -> None:
        """Say hello, often."""
        control = await channel.get_exchange(f"{self.prefix}.control")
        hello: dict[str, Any] = {
            "service": "till",
            "instance": "till-1",
            "accepts": ["batch"],
            "commands": {},
        }
        while True:
            message = aio_pika.Message(json.dumps(hello).encode(), content_type="application/json")
            await control.publish(message, "hello")
            await asyncio.sleep(0.2)

    async def unpack(self, message: AbstractIncomingMessage) -> None:
        """Each member as if it had come alone; the envelope when all are answered."""
        for one in json.loads(message.body):
            properties = {k: v for k, v in one["properties"].items() if k != "content_type"}
            body = json.dumps(one["body"]).encode()
            await self.receive(Member(headers=one["headers"], body=body, **properties))
        await message.ack()

    async def stop(self) -> None:
        """Disconnect."""
        if self.greeting is not None:
            self.greeting.cancel()
        await self.connection.close()
        await self.pool.close()

    async def receive(self, message: Incoming) -> None:
        """Commit, publish, acknowledge: in this order."""
        header: Any = message.headers
        body = self.read(message, header)
        if body is None:
            await (message.ack() if self.flaw == "loses what cannot be read" else message.reject())
            return
        if header["amends-op"] == "forget":
            await message.ack()
            return
        if self.flaw == "acknowledges before it replies":
            await message.ack()
            self.early += 1
            await asyncio.sleep(0.1 * self.early)  # one after the other, so that a crash finds some
        await self.answer(message, header, body)
        if self.flaw != "acknowledges before it replies":
            await message.ack()

    def read(self, message: Incoming, header: Any) -> Any:
        """The body, or None if the message cannot be read."""
        try:
            body: Any = json.loads(message.body)
        except ValueError:
            return None
        version = header.get("amends-wire")
        if self.flaw == "reads integers only":
            known = version == 1
        else:
            known = str(version) == "1"
        named = header.get("amends-op") == "forget" or header.get("amends-key")
        whole = known and named and isinstance(body, dict)
        return cast(Any, body) if whole else None

    async def answer(self, message: Incoming, header: Any, body: Any) -> None:
        """Decide in a transaction, then publish."""
        op = header["amends-op"]
        if op in {"action", "compensation"} and message.type != "till.charge":
            now = self.flaw == "refuses what it does not know for now"
            answer = problem("failed", "amends:unknown-command", retryable=now)
            await self.reply(message, header, answer)
        elif op not in {"action", "compensation"}:
            await self.reply(message, header, problem("failed", "amends:unsupported"))
        else:
            decide = self.action if op == "action" else self.compensation
            async with self.pool.acquire() as conn, conn.transaction():
                answer = await decide(conn, header, body)
                if self.flaw == "answers before it commits":
                    await self.reply(message, header, answer)
                    await asyncio.sleep(0.3)
            if self.flaw != "answers before it commits":
                await self.reply(message, header, answer)

    # --- the row decides ------------------------------------------------------------------------

    async def action(self, conn: Any, header: Any, body: Any) -> Any:
        """Runs only where the row says so."""
        key, attempt = header["amends-key"], int(header["amends-attempt"])
        if key in self.tombstones:
            return problem("fenced", "amends:fenced")
        row = await self.row(conn, key, header)
        if row["state"] == "tombstone":
            return problem("fenced", "amends:fenced")
        reused = row["digest"] != header["amends-digest"]
        if reused and self.flaw not in {"ignores the digest", "acts after its undo"}:
            return problem("unknown", "amends:key-reused")
        again = row["state"] == "failed" and attempt > row["attempt"]
        again = again or self.flaw == "ignores the key"
        again = again or (self.flaw == "acts on an undone key again" and row["state"] == "undone")
        if row["state"] != "new" and not again:
            return json.loads(row["reply"])
        answer = await self.charge(conn, key, body)
        answer["attempt"] = attempt
        await conn.execute(
            "UPDATE step SET state = $2, attempt = $3, reply = $4 WHERE key = $1",
            *(key, answer["outcome"], attempt, json.dumps(answer)),
        )
        return answer

    async def charge(self, conn: Any, key: str, body: Any) -> dict[str, Any]:
        """Take 30, unless the account is empty."""
        empty = body.get("account") == "empty"
        if empty and self.flaw != "failed after an effect":
            return problem("failed", "no-cover")
        n = await conn.fetchval("INSERT INTO entry (key, usd) VALUES ($1, -30) RETURNING n", key)
        return problem("failed", "no-cover") if empty else succeeded({"n": n})

    async def compensation(self, conn: Any, header: Any, body: Any) -> Any:
        """Undoes what succeeded; whatever else there is becomes a tombstone."""
        key = header["amends-compensates"]
        if self.flaw == "finds late undos by their saga":
            key = header["amends-key"].removesuffix("compensation") + "action"
        if self.flaw == "compares an undo's digest":
            before = self.digests.setdefault(header["amends-key"], header["amends-digest"])
            if before != header["amends-digest"]:
                return problem("unknown", "amends:key-reused")
        row = await self.row(conn, key, None)
        forgotten = row["state"] == "new" and header["amends-action-outcome"] == "succeeded"
        if forgotten and self.flaw != "does not know forgotten":
            await conn.execute("DELETE FROM step WHERE key = $1", key)
            return problem("unknown", "amends:forgotten")
        if self.flaw == "needs the output to undo" and body["output"] is None:
            return problem("failed", "no-output")
        undone = {"succeeded", "undone"} if self.flaw == "refunds each time" else {"succeeded"}
        if row["state"] in undone:
            await self.refund(conn, key)
        state = "undone" if row["state"] in {"succeeded", "undone"} else "tombstone"
        if state == "tombstone" and self.flaw == "forgets tombstones at a restart":
            self.tombstones.add(key)
            await conn.execute("DELETE FROM step WHERE key = $1", key)
        elif state == "tombstone" and self.flaw == "acts after its undo":
            await conn.execute("DELETE FROM step WHERE key = $1", key)
        else:
            await conn.execute("UPDATE step SET state = $2 WHERE key = $1", key, state)
        return succeeded({})

    async def refund(self, conn: Any, key: str) -> None:
        """Give 30 back to whom they were taken from."""
        usd = {"refunds nothing": 0, "refunds a part": 10}.get(self.flaw, 30)
        if self.flaw in {"another saga's undo", "undoes the newest first"}:
            own = key if self.flaw == "another saga's undo" else ""
            key = await conn.fetchval(NEWEST, own) or key
        if usd:
            await conn.execute("INSERT INTO entry (key, usd) VALUES ($1, $2)", key, usd)

    async def row(self, conn: Any, key: str, header: Any) -> Any:
        """Insert or lock: the unique key decides who was first."""
        digest = None if header is None else header["amends-digest"]
        if self.flaw == "looks without a lock":
            found = await conn.fetchrow("SELECT * FROM step WHERE key = $1", key)
            if found is None:
                await asyncio.sleep(0.05)
                found = {"state": "new", "attempt": 0, "digest": digest, "reply": None}
                await self.pool.execute(INSERT, key, digest)
            return found
        await conn.execute(INSERT, key, digest)
        return await conn.fetchrow("SELECT * FROM step WHERE key = $1 FOR UPDATE", key)

    # --- the reply ------------------------------------------------------------------------------

    async def reply(self, message: Incoming, header: Any, answer: Any) -> None:
        """Echo the delivery; returns when the broker has confirmed."""
        echo = {k: header[k] for k in ("amends-key", "amends-attempt", "amends-token")}
        if self.flaw == "echoes no token":
            del echo["amends-token"]
        if self.flaw == "echoes the first delivery":
            echo["amends-attempt"] = answer.get("attempt", 1)
        said = {"amends-outcome": answer["outcome"], "amends-retryable": answer.get("retryable")}
        ok = answer["outcome"] == "succeeded"
        out = aio_pika.Message(
            json.dumps(answer["body"]).encode(),
            message_id=f"{message.message_id}:reply",
            correlation_id=message.correlation_id,
            type=message.type,
            content_type="application/json" if ok else "application/problem+json",
            headers={**echo, **{k: v for k, v in said.items() if v is not None}},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self.replies.publish(out, message.reply_to or "", mandatory=True)


INSERT = (
    "INSERT INTO step (key, state, attempt, digest) VALUES ($1, 'new', 0, $2)"
    " ON CONFLICT DO NOTHING"
)


def succeeded(body: dict[str, Any]) -> dict[str, Any]:
    """An answer with an output."""
    return {"outcome": "succeeded", "body": body}


def problem(outcome: str, kind: str, *, retryable: bool = False) -> dict[str, Any]:
    """An answer with a problem."""
    return {"outcome": outcome, "body": {"type": kind}, "retryable": retryable}


async def main() -> None:
    """Serve until killed."""
    env = os.environ
    plain = Plain(
        env["AMENDS_BROKER_URL"],
        env["AMENDS_DATABASE_URL"],
        env["AMENDS_PREFIX"],
        env.get("TILL_FLAW", ""),
    )
    await plain.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
