-- The statements on a participant's tables (schema.sql tells the data model). Each is named and
-- says what it is for; `store.py` gives them their types. Callers own the transaction.

-- name: open_action
-- Puts a new action's row, running. No row comes back if the key is taken: lock and read it then.
-- Waits for whoever is inserting the same key (up to lock_timeout).
INSERT INTO amends_barrier (key, service, command, op, state, digest)
VALUES ($1, $2, $3, 'action', 'running', $4)
ON CONFLICT (key) DO NOTHING
RETURNING key

-- name: known_keys
-- Which of these keys have a row. One look into the index for each, whatever the planner thinks of
-- a table that was empty when it was asked.
SELECT key FROM unnest($1::text[]) AS wanted (key)
WHERE (SELECT true FROM amends_barrier WHERE amends_barrier.key = wanted.key)

-- name: record_actions
-- The answers of several actions without a row, in the order of their keys. Those that come back
-- are new; waits for whoever is inserting the same key (up to lock_timeout).
INSERT INTO amends_barrier (key, service, command, op, state, attempt_closed, digest, outcome,
                            body, retry_after_s, usage)
SELECT key, $1, command, 'action', state, attempt, digest, outcome, body, retry_after_s, usage
FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::bytea[],
            $9::double precision[], $10::text[])
    AS done (key, command, state, attempt, digest, outcome, body, retry_after_s, usage)
ORDER BY key COLLATE "C"
ON CONFLICT (key) DO NOTHING
RETURNING key

-- name: record_undos
-- The answers of several compensations, and `undone` for the actions of those that succeeded: these
-- come with their undo's key, and keep what they were answered. Their rows are locked. Not an
-- UPDATE: a conflict finds its row through the key. An own row whose attempt was closed meanwhile
-- does not come back.
INSERT INTO amends_barrier (key, service, command, op, state, attempt_closed, outcome, body,
                            retry_after_s, usage, undo_key)
SELECT key, $1, command, CASE WHEN undo_key IS NULL THEN 'compensation' ELSE 'action' END, state,
    attempt, outcome, body, retry_after_s, usage, undo_key
FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::bytea[],
            $8::double precision[], $9::text[], $10::text[])
    AS done (key, command, state, attempt, outcome, body, retry_after_s, usage, undo_key)
ORDER BY key COLLATE "C"
ON CONFLICT (key) DO UPDATE SET state = excluded.state, undo_key = excluded.undo_key,
    attempt_closed = greatest(amends_barrier.attempt_closed, excluded.attempt_closed),
    outcome = CASE WHEN excluded.undo_key IS NULL THEN excluded.outcome
        ELSE amends_barrier.outcome END,
    body = CASE WHEN excluded.undo_key IS NULL THEN excluded.body ELSE amends_barrier.body END,
    retry_after_s = excluded.retry_after_s,
    usage = CASE WHEN excluded.undo_key IS NULL THEN excluded.usage ELSE amends_barrier.usage END,
    changed_at = now()
WHERE excluded.undo_key IS NOT NULL OR amends_barrier.attempt_closed < excluded.attempt_closed
RETURNING key

-- name: bury
-- The tombstone of an action that never arrived. No row comes back if the key is taken.
INSERT INTO amends_barrier (key, service, command, op, state, attempt_closed, undo_key)
VALUES ($1, $2, $3, 'action', 'tombstone', $4, $5)
ON CONFLICT (key) DO NOTHING
RETURNING key

-- name: close_absent
-- A probe's row for an action that never arrived. No row comes back if the key is taken.
INSERT INTO amends_barrier (key, service, command, op, state, attempt_closed)
VALUES ($1, $2, $3, 'action', 'closed', $4)
ON CONFLICT (key) DO NOTHING
RETURNING key

-- name: lock_rows
-- Locks an action's row, and its compensation's, in the order given, which is that of the keys.
-- LATERAL with a lock of its own looks each key up in the index, as in known_keys.
SELECT row.* FROM unnest($1::text[]) AS wanted (key), LATERAL (
    SELECT key, command, state, attempt_closed, digest, undo_key, outcome, body, retry_after_s, usage
    FROM amends_barrier WHERE amends_barrier.key = wanted.key FOR UPDATE) AS row

-- name: lock_free_rows
-- The same without waiting: rows that others have locked are left out.
SELECT row.* FROM unnest($1::text[]) AS wanted (key), LATERAL (
    SELECT key, command, state, attempt_closed, digest, undo_key, outcome, body, retry_after_s, usage
    FROM amends_barrier WHERE amends_barrier.key = wanted.key FOR UPDATE SKIP LOCKED) AS row

-- name: read_row
-- One row without a lock.
SELECT key, command, state, attempt_closed, digest, undo_key, outcome, body, retry_after_s, usage
FROM amends_barrier WHERE key = $1

-- name: reopen_action
-- A further attempt of a known action begins; what was answered before no longer counts.
UPDATE amends_barrier SET state = 'running', digest = coalesce(digest, $2), outcome = NULL,
    body = NULL, retry_after_s = NULL, usage = NULL, changed_at = now()
WHERE key = $1

-- name: close_attempts
-- No attempt up to this one will start (again).
UPDATE amends_barrier SET attempt_closed = greatest(attempt_closed, $2), changed_at = now()
WHERE key = $1

-- name: entomb
-- The compensation found no effect: the action never takes one.
UPDATE amends_barrier SET state = 'tombstone', attempt_closed = $2, undo_key = $3, outcome = NULL,
    body = NULL, retry_after_s = NULL, usage = NULL, changed_at = now()
WHERE key = $1

-- name: set_undo
-- Which compensation is at this action (state as it is), or has undone it (undone), or gave up.
UPDATE amends_barrier SET state = $2, undo_key = $3, changed_at = now() WHERE key = $1

-- name: record
-- Stores the answer of an action or a compensation, whether its row is there or not.
INSERT INTO amends_barrier (key, service, command, op, state, attempt_closed, digest, outcome,
                            body, retry_after_s, usage)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (key) DO UPDATE SET state = excluded.state, outcome = excluded.outcome,
    attempt_closed = greatest(amends_barrier.attempt_closed, excluded.attempt_closed),
    digest = coalesce(amends_barrier.digest, excluded.digest), body = excluded.body,
    retry_after_s = excluded.retry_after_s, usage = excluded.usage, changed_at = now()

-- name: open_compensation
-- A compensation's own row, running, for undoing outside the database.
INSERT INTO amends_barrier (key, service, command, op, state)
VALUES ($1, $2, $3, 'compensation', 'running')
ON CONFLICT (key) DO UPDATE SET state = 'running', outcome = NULL, body = NULL,
    retry_after_s = NULL, usage = NULL, changed_at = now()

-- name: effects_of_saga
-- For `ledger`: the actions of one saga that took effect, or may have.
SELECT key, command, state, body FROM amends_barrier
WHERE key >= $1::text || '/' AND key < $1::text || '0' AND op = 'action' AND service = $2
    AND state IN ('running', 'unknown', 'succeeded', 'undone') ORDER BY key

-- name: forget
-- The saga is over: its rows may go seven days from now. `0` is the character after `/`.
UPDATE amends_barrier SET forget_after = now() + interval '7 days'
WHERE key >= $1::text || '/' AND key < $1::text || '0' AND service = $2 AND forget_after IS NULL

-- name: purge
-- Deletes rows that were forgotten seven days ago, never one at work.
DELETE FROM amends_barrier WHERE key IN (
    SELECT key FROM amends_barrier
    WHERE forget_after < now() AND state <> 'running' AND service = $1 LIMIT $2)

-- name: renew_lease
-- An instance is alive for so many seconds from now; it may have been taken for dead meanwhile.
INSERT INTO amends_instance (id, service, until) VALUES ($1, $2, now() + $3 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET until = excluded.until

-- name: end_lease
-- This instance stops; what it left is free to be taken at once.
DELETE FROM amends_instance WHERE id = $1

-- name: put_intent
-- Before the effect: which attempt is at work, and where.
INSERT INTO amends_intent (key, service, instance, attempt, started, command)
VALUES ($1, $2, $3, $4, $5, $6)

-- name: start_intent
-- A waiting attempt begins. No row comes back if another instance has taken it.
UPDATE amends_intent SET started = true WHERE key = $1 AND instance = $2 RETURNING key

-- name: join_intent
-- A later delivery of what is at work: the reply will answer the latest one.
UPDATE amends_intent SET attempt = $2, command = $3 WHERE key = $1 AND attempt < $2

-- name: take_own_intent
-- The work is done: removes the intent and gives its latest delivery, if it is still ours.
DELETE FROM amends_intent WHERE key = $1 AND instance = $2 RETURNING attempt, command

-- name: take_dead_intents
-- Takes over intents whose instance has no lease any more, and own ones that nobody works on.
WITH dead AS (
    SELECT key FROM amends_intent
    WHERE service = $1 AND CASE WHEN instance = $2
            THEN key <> ALL ($4::text[]) AND made_at < now() - interval '1 minute'
        ELSE NOT EXISTS (SELECT FROM amends_instance i WHERE i.id = instance AND i.until > now())
        END
    ORDER BY made_at LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE amends_intent SET instance = $2,
    takeovers = takeovers + CASE WHEN started AND instance <> $2 THEN 1 ELSE 0 END
FROM dead WHERE amends_intent.key = dead.key
RETURNING amends_intent.key, amends_intent.started, amends_intent.takeovers, amends_intent.command

-- name: disown_intent
-- A drill says that its instance has died: it belongs to one that has no lease.
UPDATE amends_intent SET instance = gen_random_uuid() WHERE key = $1 AND instance = $2

-- name: put_reply
-- A reply whose delivery was acknowledged before the work was done.
INSERT INTO amends_reply (service, instance, message) VALUES ($1, $2, $3) RETURNING id

-- name: delete_replies
-- These were confirmed, or returned, by the broker.
DELETE FROM amends_reply WHERE id = ANY($1::bigint[])

-- name: take_replies
-- Replies to publish: those left by instances without a lease, and own ones older than a while.
WITH open AS (
    SELECT id FROM amends_reply
    WHERE service = $1 AND (CASE WHEN instance = $2 THEN made_at < now() - $3 * interval '1 second'
        ELSE NOT EXISTS (SELECT FROM amends_instance i WHERE i.id = instance AND i.until > now())
        END)
    ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED)
UPDATE amends_reply SET instance = $2 FROM open WHERE amends_reply.id = open.id
RETURNING amends_reply.id, amends_reply.message

-- name: purge_instances
-- Leases that ended long ago and have nothing left.
DELETE FROM amends_instance i WHERE until < now() - interval '1 hour'
    AND NOT EXISTS (SELECT FROM amends_intent t WHERE t.instance = i.id)
    AND NOT EXISTS (SELECT FROM amends_reply r WHERE r.instance = i.id)

-- name: mark_started
-- A command of an envelope that came again is begun by itself: for the how-manieth time.
INSERT INTO amends_started AS s (key, service, times) VALUES ($1, $2, 1)
ON CONFLICT (key) DO UPDATE SET times = s.times + 1, begun_at = now()
RETURNING times

-- name: clear_started
-- It has come to an end, whichever.
DELETE FROM amends_started WHERE key = $1

-- name: purge_started
-- Marks of commands that were answered elsewhere, or never came again.
DELETE FROM amends_started WHERE begun_at < now() - interval '1 day'

-- name: tables_there
-- Whether the participant's tables exist.
SELECT to_regclass('amends_barrier') IS NOT NULL AND to_regclass('amends_intent') IS NOT NULL
    AND to_regclass('amends_instance') IS NOT NULL AND to_regclass('amends_reply') IS NOT NULL
    AND to_regclass('amends_started') IS NOT NULL
