"""A participant of the light profile, without the SDK: aio-pika, asyncpg and the wire contract.

It moves money in its own database. Row, effect and stored reply are one transaction; the reply is
published with confirms; then the delivery is acknowledged. Nothing else is needed: `running`
cannot be seen, for the row's lock waits. Probe and ledger are not offered; rows are never deleted.
"""

import json
from typing import Any

import aio_pika
import asyncpg
from aio_pika.abc import AbstractIncomingMessage

TABLE = """CREATE TABLE IF NOT EXISTS step (
    key text PRIMARY KEY, state text NOT NULL, closed integer NOT NULL, digest text, reply text)"""
DEAD = {"x-dead-letter-exchange": "{p}.dead", "x-dead-letter-strategy": "at-least-once"}
ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-delivery-limit": 20,
    **DEAD,
}


class Light:
    """The service `bank` with the command `bank.charge`."""

    def __init__(self, broker_url: str, database_url: str, prefix: str) -> None:
        self.urls = broker_url, database_url
        self.prefix = prefix

    async def start(self) -> None:
        """Declare the two queues and consume them."""
        self.pool: Any = await asyncpg.create_pool(self.urls[1], min_size=1, max_size=8)
        await self.pool.execute(TABLE)
        self.connection = await aio_pika.connect_robust(self.urls[0])
        channel = await self.connection.channel(on_return_raises=True)
        await channel.set_qos(prefetch_count=8)
        commands = await channel.get_exchange(f"{self.prefix}.commands")
        self.replies = await channel.get_exchange(f"{self.prefix}.replies")
        for lane in ("do", "undo"):
            arguments: Any = {
                k: v.format(p=self.prefix) if isinstance(v, str) else v
                for k, v in ARGUMENTS.items()
            }
            queue = await channel.declare_queue(
                f"{self.prefix}.{lane}.bank", durable=True, arguments=arguments
            )
            await queue.bind(commands, f"{lane}.bank.#")
            await queue.consume(self.receive)

    async def stop(self) -> None:
        """Disconnect."""
        await self.connection.close()
        await self.pool.close()

    async def receive(self, message: AbstractIncomingMessage) -> None:
        """Commit, publish, acknowledge: in this order."""
        header: Any = message.headers
        if header.get("amends-wire") != 1 or message.type is None:
            await message.reject()
            return
        if header["amends-op"] == "forget":
            await message.ack()
            return
        if message.type != "bank.charge":
            answer = problem("failed", "amends:unknown-command")
        elif header["amends-op"] == "action":
            answer = await self.action(header, json.loads(message.body))
        elif header["amends-op"] == "compensation":
            answer = await self.compensation(header, json.loads(message.body))
        else:
            answer = problem("failed", "amends:unsupported")
        await self.reply(message, header, answer)
        await message.ack()

    async def action(self, header: Any, body: Any) -> dict[str, Any]:
        """The row decides; a declined charge leaves its failure in the row."""
        key, attempt = header["amends-key"], header["amends-attempt"]
        async with self.pool.acquire() as conn, conn.transaction():
            row = await self.row(conn, key, header["amends-digest"])
            if row["state"] == "tombstone":
                return problem("fenced", "fenced")
            if row["digest"] != header["amends-digest"]:
                return problem("unknown", "amends:key-reused")
            if row["state"] != "new" and not (row["state"] == "retry" and attempt > row["closed"]):
                return json.loads(row["reply"])
            paid = await conn.fetchval(
                "UPDATE account SET usd = usd - $2 WHERE name = $1 AND usd >= $2 RETURNING usd",
                *(body["account"], body["usd"]),
            )
            if paid is None:
                answer = problem("failed", "no-cover", retryable=True)
                await self.store(conn, key, "retry", attempt, answer)
            else:
                await conn.execute("INSERT INTO done (key, what) VALUES ($1, 'acted')", key)
                answer = {"outcome": "succeeded", "body": {"id": key}}
                await self.store(conn, key, "succeeded", attempt, answer)
            return answer

    async def compensation(self, header: Any, body: Any) -> dict[str, Any]:
        """Undo what succeeded; whatever else there is becomes a tombstone."""
        key = header["amends-compensates"]
        async with self.pool.acquire() as conn, conn.transaction():
            row = await self.row(conn, key, None)
            if row["state"] == "new" and header["amends-action-outcome"] == "succeeded":
                await conn.execute("DELETE FROM step WHERE key = $1", key)
                return problem("unknown", "amends:forgotten")
            if row["state"] == "succeeded":
                given = body["input"]
                await conn.execute(
                    "UPDATE account SET usd = usd + $2 WHERE name = $1",
                    *(given["account"], given["usd"]),
                )
                await conn.execute("INSERT INTO done (key, what) VALUES ($1, 'undone')", key)
            if row["state"] not in {"undone", "tombstone"}:
                state = "undone" if row["state"] == "succeeded" else "tombstone"
                await conn.execute("UPDATE step SET state = $2 WHERE key = $1", key, state)
            return {"outcome": "succeeded", "body": {}}

    async def row(self, conn: Any, key: str, digest: str | None) -> Any:
        """Insert or lock: the unique key decides who was first."""
        await conn.execute(
            "INSERT INTO step VALUES ($1, 'new', 0, $2) ON CONFLICT DO NOTHING", key, digest
        )
        return await conn.fetchrow("SELECT * FROM step WHERE key = $1 FOR UPDATE", key)

    async def store(self, conn: Any, key: str, state: str, attempt: int, answer: Any) -> None:
        """Keep the reply with the effect."""
        await conn.execute(
            "UPDATE step SET state = $2, closed = $3, reply = $4 WHERE key = $1",
            *(key, state, attempt, json.dumps(answer)),
        )

    async def reply(self, message: AbstractIncomingMessage, header: Any, answer: Any) -> None:
        """Echo the delivery; returns when the broker has confirmed."""
        echo = {k: header[k] for k in ("amends-key", "amends-attempt", "amends-token")}
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


def problem(outcome: str, kind: str, *, retryable: bool = False) -> dict[str, Any]:
    """An answer with a problem."""
    return {"outcome": outcome, "body": {"type": kind}, "retryable": retryable}
