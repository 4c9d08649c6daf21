-- The data model of the orchestrator, first version.
--
-- A *saga* is one run of a definition. Its row is small: identity, status, and the control state
-- (which step is where), never a payload. Everything that happened to it stands in the *journal*,
-- append-only, numbered from 1 without a gap; a command's input and its output are written there,
-- once. The saga row is a fold of its journal: `seq` says up to which row.
--
-- A batch of messages is decided in memory and written by one statement, all or nothing: new
-- sagas with their *start keys* (a start is idempotent by tenant, definition and key), changed
-- sagas where `seq` is still the one that was loaded (that is the fence: two orchestrators that
-- both believe they own a saga cannot both commit), the journal rows, and one *outbox* row that
-- holds the messages of the whole batch, byte for byte. Only what is committed there is ever
-- published; a row stays until the broker has taken every message of it.
--
-- No saga is silent: one that is not at its end has a finite `wake_at`, the lower bound of its next
-- deadline, and the owner of its *partition* looks at it then. An *orchestrator* is a running
-- process and its lease; it owns partitions as long as the lease lasts, and so long nobody else
-- publishes its outbox rows. The lease avoids double work; safety comes from the fence alone.
--
-- A *definition* is a versioned plan, never changed once registered. A *participant* row is what
-- one instance of a service last said of itself: a hint. An *api_key* is a hash, a tenant and a
-- scope. *audit* says who asked for what, and why (what was done to a saga stands in its journal as
-- well, written with the deed).
--
-- Times are the database's (clock_timestamp). Statuses are text with a CHECK, so that a release
-- can add one by a migration that only expands. There are no foreign keys: the statement that
-- writes a batch writes both ends, and checking them again would cost a lookup per journal row.

-- One run of a definition.
--
-- Per step only seq, state and residue change, and no index knows them: such an update stays on
-- its page (HOT), for which a part of every page is kept free. `wake_at` is written as
-- LEAST(stored, new), so it hardly ever changes either. A change of status costs index entries,
-- and happens once or twice in a saga's life.
CREATE TABLE amends.saga (
    id          uuid        NOT NULL PRIMARY KEY,  -- version 7: newer ids are greater
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    wake_at     timestamptz,                       -- NULL exactly when the saga has ended
    version     integer     NOT NULL,              -- of the definition
    seq         integer     NOT NULL,              -- journal rows so far
    residue     integer     NOT NULL DEFAULT 0,    -- effects that stay in the world
    partition   smallint    NOT NULL,
    tenant      text        NOT NULL,
    definition  text        NOT NULL,
    key         text        NOT NULL,              -- the start's
    status      text        NOT NULL,
    trace_id    text,                              -- W3C, 32 hex digits
    labels      jsonb       NOT NULL DEFAULT '{}',
    state       json        NOT NULL,              -- never searched: json is cheaper than jsonb

    CONSTRAINT saga_status CHECK (
        status IN ('running', 'compensating', 'stuck', 'suspended', 'completed', 'compensated')),
    CONSTRAINT saga_never_silent CHECK (
        status IN ('completed', 'compensated') OR (wake_at IS NOT NULL AND isfinite(wake_at))),
    CONSTRAINT saga_ended CHECK (
        status NOT IN ('completed', 'compensated') OR (wake_at IS NULL AND ended_at IS NOT NULL)),
    CONSTRAINT saga_numbers CHECK (seq > 0 AND residue >= 0 AND partition >= 0 AND version > 0)
) WITH (
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);

-- What is due, by partition. `wake_at IS NOT NULL` says "not at its end" (the CHECKs above), and
-- says it without the status, which thus may change without touching this index.
CREATE INDEX saga_wake ON amends.saga (partition, wake_at) WHERE wake_at IS NOT NULL;

-- Lists, newest first, by keyset on the id. A list of several statuses merges one range of each.
CREATE INDEX saga_list ON amends.saga (tenant, status, id);
CREATE INDEX saga_list_definition ON amends.saga (definition, tenant, status, id);

-- Labels given at the start; they never change. A saga without labels costs nothing here.
CREATE TABLE amends.saga_label (
    tenant   text NOT NULL,
    name     text NOT NULL,
    value    text NOT NULL,
    saga_id  uuid NOT NULL,
    PRIMARY KEY (tenant, name, value, saga_id)
);

-- Which starts were accepted. Outlives the saga by 30 days. A row without a saga is the tombstone
-- of a start that was cancelled before it came.
CREATE TABLE amends.start_key (
    tenant        text        NOT NULL,
    definition    text        NOT NULL,
    key           text        NOT NULL,
    input_digest  text        NOT NULL,
    saga_id       uuid,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant, definition, key),
    CONSTRAINT start_key_length CHECK (octet_length(key) BETWEEN 1 AND 1024)
);

-- Facts of a saga; append-only.
CREATE TABLE amends.journal (
    saga_id  uuid        NOT NULL,
    at       timestamptz NOT NULL,  -- the time of the batch that wrote it
    seq      integer     NOT NULL,
    attempt  integer,
    kind     text        NOT NULL,
    step     text,                  -- step path; NULL for what concerns the saga
    data     json        NOT NULL,  -- inputs and outputs stand here, byte for byte
    PRIMARY KEY (saga_id, seq),
    CONSTRAINT journal_seq CHECK (seq > 0),
    CONSTRAINT journal_step_length CHECK (octet_length(step) <= 160)
);

-- Messages of one batch that the broker has not taken yet. Only the orchestrator named here
-- publishes them; when its lease is over, any other may take the row over: a look through the whole
-- table, which holds a few rows per orchestrator. The body is read whole or not at all, so it lies
-- outside the row, uncompressed.
CREATE TABLE amends.outbox (
    id            uuid        NOT NULL PRIMARY KEY,
    orchestrator  uuid        NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    n             integer     NOT NULL,  -- messages in the body
    body          bytea       NOT NULL,
    CONSTRAINT outbox_n CHECK (n >= 0)
) WITH (
    -- rows live for milliseconds
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 4000,
    toast.autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE amends.outbox ALTER COLUMN body SET STORAGE EXTERNAL;

-- A running orchestrator. Alive while `until` lies ahead. Only those that are `claiming` take
-- partitions, and only they count when the partitions are shared out.
CREATE TABLE amends.orchestrator (
    id          uuid        NOT NULL PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    claiming    boolean     NOT NULL
) WITH (fillfactor = 50);

-- The partitions: as many as there are rows; more can be added at any time (a saga keeps its own).
-- One is held while its owner is alive: renewing a lease touches one row, not all that it covers.
CREATE TABLE amends.partition (
    pp     smallint NOT NULL PRIMARY KEY,
    owner  uuid,
    CONSTRAINT partition_number CHECK (pp >= 0)
) WITH (fillfactor = 50);
INSERT INTO amends.partition (pp) SELECT generate_series(0, 15);

-- Versioned plans; a row never changes.
CREATE TABLE amends.definition (
    name      text        NOT NULL,
    version   integer     NOT NULL,
    digest    text        NOT NULL,
    document  json        NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version),
    CONSTRAINT definition_version CHECK (version > 0)
);

-- What the instances of participants say of themselves, every 30 s.
CREATE TABLE amends.participant (
    service   text        NOT NULL,
    instance  text        NOT NULL,
    sdk       text,
    horizon   text,                  -- ISO 8601 duration: how long it keeps its rows
    accepts   text[]      NOT NULL,  -- batch, ref
    commands  json        NOT NULL,
    seen_at   timestamptz NOT NULL,
    PRIMARY KEY (service, instance)
) WITH (fillfactor = 70);

-- API keys. The key itself is not kept: `hash` is SHA-256 of it, `prefix` finds the row.
CREATE TABLE amends.api_key (
    prefix       text        NOT NULL PRIMARY KEY,
    hash         bytea       NOT NULL,
    name         text        NOT NULL,
    tenant       text        NOT NULL,
    scope        text        NOT NULL,
    broker_user  text        UNIQUE,  -- the broker's user that speaks with this tenant and scope
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT api_key_hash CHECK (octet_length(hash) = 32),
    CONSTRAINT api_key_scope CHECK (
        scope IN ('viewer', 'starter', 'reviewer', 'operator', 'admin'))
);

-- Who did what, why, and what came of it: keys, definitions, and operators' requests, also those
-- that were refused.
CREATE TABLE amends.audit (
    id       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    saga_id  uuid,
    tenant   text        NOT NULL,
    who      text        NOT NULL,
    action   text        NOT NULL,  -- retry, skip, key.create, definition.register, ...
    subject  text,                  -- what is neither saga nor step: book-trip@3, a key's prefix
    step     text,
    reason   text,
    outcome  text        NOT NULL   -- done, or the type of the problem
);
CREATE INDEX audit_tenant ON amends.audit (tenant, id);
CREATE INDEX audit_saga ON amends.audit (saga_id, id) WHERE saga_id IS NOT NULL;

-- The oldest revision whose code still works on this schema; raised by contracting migrations.
CREATE TABLE amends.schema_floor (revision text NOT NULL PRIMARY KEY);
INSERT INTO amends.schema_floor VALUES ('0001');

-- Ends the statement that calls it, and with it everything that statement wrote, when fewer sagas
-- were found than were to be changed. SQLSTATE SG001 is ours: recognised by it, never by the text.
CREATE FUNCTION amends.fence(matched bigint, wanted bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF matched <> wanted THEN
        RAISE EXCEPTION USING
            ERRCODE = 'SG001',
            MESSAGE = 'a saga is not at the seq it was loaded at';
    END IF;
END
$$;
