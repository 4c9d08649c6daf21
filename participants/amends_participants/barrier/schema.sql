-- The tables of a participant, in its own database.
--
-- amends_barrier holds one row per idempotency key: one for an action, one for each compensation.
-- The unique key decides, under any concurrency, whether an action or the tombstone of its
-- compensation came first. For a `transactional` handler the row is written in the transaction of
-- the effect; for effects outside the database it says `running` before the effect begins.
-- A row keeps what was answered (outcome, body), the highest attempt that is closed (it will never
-- start again), the digest of the action's body, and which compensation undid it. Keys begin with
-- the saga's id, so that one saga's rows are a range of the primary key. Rows stay until the
-- orchestrator says `forget`, and seven days more (`forget_after`).
--
-- amends_intent holds one row per attempt at work outside the database: its command, byte for
-- byte, and the instance that works on it. An intent whose instance has no lease any more
-- (amends_instance.until, renewed by a live process) is dead and is settled by whoever takes it.
--
-- amends_reply is the outbox of replies whose deliveries were acknowledged before the work was done.
--
-- amends_started counts how often a command of an envelope was begun by itself after the process
-- that had the envelope was lost, and has no answer yet: one that ends every process which begins it
-- is not begun for ever. Empty but for the moments after a crash.
--
-- Idempotent: run it at every deployment, or copy it into your own migrations.

CREATE TABLE IF NOT EXISTS amends_barrier (
    key text COLLATE "C" PRIMARY KEY,
    service text NOT NULL,
    command text NOT NULL,
    op text NOT NULL CHECK (op IN ('action', 'compensation')),
    state text NOT NULL CHECK (state IN ('running', 'closed', 'failed_retryable', 'failed',
                                         'unknown', 'succeeded', 'undone', 'tombstone')),
    attempt_closed integer NOT NULL DEFAULT 0 CHECK (attempt_closed >= 0),
    digest text,
    undo_key text,
    outcome text CHECK (outcome IN ('succeeded', 'failed', 'unknown')),
    body bytea,
    retry_after_s double precision,
    usage text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    forget_after timestamptz,
    CONSTRAINT amends_barrier_answered CHECK (
        (state IN ('running', 'closed', 'tombstone')) = (outcome IS NULL)
        AND (outcome IS NULL) = (body IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX IF NOT EXISTS amends_barrier_forget_after
    ON amends_barrier (forget_after) WHERE forget_after IS NOT NULL;

CREATE TABLE IF NOT EXISTS amends_instance (
    id uuid PRIMARY KEY,
    service text NOT NULL,
    until timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS amends_intent (
    key text COLLATE "C" PRIMARY KEY REFERENCES amends_barrier (key),
    service text NOT NULL,
    instance uuid NOT NULL,
    attempt integer NOT NULL,
    started boolean NOT NULL,
    takeovers integer NOT NULL DEFAULT 0,
    command bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS amends_reply (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text NOT NULL,
    instance uuid NOT NULL,
    message bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS amends_started (
    key text COLLATE "C" PRIMARY KEY,
    service text NOT NULL,
    times integer NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
);
