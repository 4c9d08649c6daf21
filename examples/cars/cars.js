// The service `cars`, without the SDK: a participant of the light profile, written from docs/wire.md.
// Row, effect and stored reply are one transaction; then the reply is published with a confirm; then
// the delivery is acknowledged. It offers neither probe, ledger, turns nor envelopes.
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import amqp from "amqplib";
import pg from "pg";

const PREFIX = process.env.AMENDS_PREFIX ?? "amends";
const QUEUE = {
  "x-queue-type": "quorum",
  "x-dead-letter-exchange": `${PREFIX}.dead`,
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
  "x-delivery-limit": 20,
};
const db = new pg.Pool({ connectionString: process.env.AMENDS_DATABASE_URL });

const succeeded = (body = {}) => ({ outcome: "succeeded", body });
const problem = (outcome, type) => ({ outcome, body: { type, title: type } });
const FENCED = problem("fenced", "amends:fenced");

// --- what it does: one command and its undo, in the transaction of the row --------------------------

async function rent(tx, key, { city }) {
  if (typeof city !== "string") return problem("failed", "bad-input");
  const held = await tx.query(
    `UPDATE car SET rented_by = $1 WHERE plate = (SELECT plate FROM car WHERE city = $2
     AND rented_by IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING plate`, [key, city]);
  return held.rowCount ? succeeded(held.rows[0]) : problem("failed", "no-car");
}

const giveBack = (tx, key) => tx.query("UPDATE car SET rented_by = NULL WHERE rented_by = $1", [key]);

// --- the row decides ----------------------------------------------------------------------------------

async function locked(tx, key, digest) {
  await tx.query("INSERT INTO step VALUES ($1, 'new', 0, $2) ON CONFLICT DO NOTHING", [key, digest]);
  return (await tx.query("SELECT * FROM step WHERE key = $1 FOR UPDATE", [key])).rows[0];
}

async function action(tx, headers, body) {
  const key = headers["amends-key"], digest = headers["amends-digest"];
  const attempt = Number(headers["amends-attempt"]);
  const row = await locked(tx, key, digest);
  if (row.state === "tombstone") return FENCED;
  if (row.digest !== digest) return problem("unknown", "amends:key-reused");
  const runs = row.state === "new" || (row.state === "failed" && attempt > row.attempt);
  if (!runs) return row.reply;
  const answer = await rent(tx, key, body);
  await tx.query("UPDATE step SET state = $2, attempt = $3, reply = $4 WHERE key = $1",
    [key, answer.outcome, attempt, answer]);
  return answer;
}

// Its reply is always the same, so it needs no row of its own: the action's says that it was here.
async function compensation(tx, headers) {
  const key = headers["amends-compensates"];
  const row = await locked(tx, key, null);
  if (row.state === "new" && headers["amends-action-outcome"] === "succeeded") {
    await tx.query("DELETE FROM step WHERE key = $1", [key]);
    return problem("unknown", "amends:forgotten");
  }
  if (row.state === "succeeded") await giveBack(tx, key);
  const state = row.state === "succeeded" || row.state === "undone" ? "undone" : "tombstone";
  await tx.query("UPDATE step SET state = $2 WHERE key = $1", [key, state]);
  return succeeded();
}

async function decided(message, body) {
  const { type, headers } = message.properties, op = headers["amends-op"];
  if (type !== "cars.rent" && ["action", "compensation"].includes(op))
    return problem("failed", "amends:unknown-command");
  const decide = { action, compensation }[op];
  if (!decide) return problem("failed", "amends:unsupported");
  const tx = await db.connect();
  try {
    await tx.query("BEGIN");
    const answer = await decide(tx, headers, body);
    await tx.query("COMMIT");
    tx.release();
    return answer;
  } catch (error) {
    tx.release(error); // the connection goes, and the transaction with it
    throw error;
  }
}

// --- the wire -----------------------------------------------------------------------------------------

function read({ content, properties: { type, headers, messageId, correlationId, replyTo } }) {
  try {
    const body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
    const named = type && messageId && (headers["amends-op"] === "forget" ||
      (correlationId && replyTo && headers["amends-key"] && Number(headers["amends-attempt"]) >= 1));
    const isObject = body !== null && typeof body === "object" && !Array.isArray(body);
    return String(headers["amends-wire"]) === "1" && named && isObject ? body : undefined;
  } catch {
    return undefined;
  }
}

const published = (channel, { properties: to }, { outcome, body }) => new Promise((done, lost) => {
  const echo = ["amends-key", "amends-attempt", "amends-token"];
  const headers = Object.fromEntries(echo.map((name) => [name, to.headers[name]]));
  channel.publish(`${PREFIX}.replies`, to.replyTo, Buffer.from(JSON.stringify(body)), {
    mandatory: true, persistent: true, type: to.type, correlationId: to.correlationId,
    messageId: `${to.messageId}:reply`,
    contentType: outcome === "succeeded" ? "application/json" : "application/problem+json",
    headers: { ...headers, "amends-outcome": outcome },
  }, (refused) => (refused ? lost(refused) : done())); // confirmed, also where it was returned
});

async function receive(channel, message) {
  const body = read(message);
  if (body === undefined) return channel.reject(message, false); // to the dead letters
  if (message.properties.headers["amends-op"] === "forget") return channel.ack(message);
  try {
    await published(channel, message, await decided(message, body));
    channel.ack(message);
  } catch (error) {
    console.error(`${message.properties.messageId}: ${error.message}`);
    await pause(1000);
    channel.nack(message); // again, at most 20 times
  }
}

async function opened() {
  const connection = await amqp.connect(process.env.AMENDS_BROKER_URL);
  connection.on("error", () => {}).on("close", () => process.exit(1)); // whoever runs it starts it anew
  try {
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => {});
    for (const name of ["commands", "replies"]) await channel.checkExchange(`${PREFIX}.${name}`);
    return channel;
  } catch (error) {
    if (error.code !== 404) throw error;
    console.error("waiting for the exchanges, which an orchestrator declares");
    connection.removeAllListeners("close");
    await connection.close();
    await pause(1000);
    return opened();
  }
}

await db.query(readFileSync(new URL("schema.sql", import.meta.url), "utf8"));
const channel = await opened();
await channel.prefetch(8);
for (const lane of ["do", "undo"]) {
  const { queue } = await channel.assertQueue(`${PREFIX}.${lane}.cars`, { arguments: QUEUE });
  await channel.bindQueue(queue, `${PREFIX}.commands`, `${lane}.cars.#`);
  await channel.consume(queue, (message) => (message ? receive(channel, message) : process.exit(1)));
}
console.log("cars is ready");
