-- What many sagas share.
--
-- A *permit* is the right of one step to be at work. A step whose definition says `limit` asks for
-- one in the statement that journals it, and is *waiting*. When it is *granted* the saga is told by a
-- message, and it is *held* by the decision that sends the command. It is *returned* by the decision
-- that settles the action, or that withdraws: a place is free exactly when the journal says so.
--
-- Permits of one *pool* and *key* (of one tenant) are counted together. Every request carries the
-- limits that its definition says; of several releases of a definition each goes by its own.
--
-- A permit that went back stays until `forget_at`: as long as a rate counts it, and a moment longer,
-- so that keys take turns by when each was last served.
CREATE TABLE amends.permit (
    saga_id      uuid        NOT NULL,
    step         text        NOT NULL,
    ask          integer     NOT NULL,  -- journal row of the request
    pool         text        NOT NULL,
    tenant       text        NOT NULL,
    key          text        NOT NULL,  -- empty: none
    state        text        NOT NULL DEFAULT 'waiting',
    asked_at     timestamptz NOT NULL,  -- the place in the queue
    granted_at   timestamptz,
    forget_at    timestamptz,
    concurrency  integer,               -- at work at the same time, of this key
    rate_count   integer,               -- granted within rate_per, of this key
    rate_per     interval,
    total        integer,               -- at work at the same time, of the pool
    PRIMARY KEY (saga_id, step, ask),
    CONSTRAINT permit_limits CHECK (
        concurrency > 0 AND total > 0 AND rate_count > 0 AND rate_per > interval '0'),
    CONSTRAINT permit_rate CHECK ((rate_count IS NULL) = (rate_per IS NULL)),
    CONSTRAINT permit_state CHECK (
        state = 'waiting' AND granted_at IS NULL AND forget_at IS NULL
        OR state IN ('granted', 'held') AND granted_at IS NOT NULL AND forget_at IS NULL
        OR state = 'returned' AND forget_at IS NOT NULL),
    CONSTRAINT permit_pool CHECK (pool <> '')
) WITH (
    -- rows live as long as a step
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Who waits, in the order of asking; a look from one key to the next skips those in between.
CREATE INDEX permit_waiting ON amends.permit (pool, tenant, key, asked_at)
    WHERE state = 'waiting';
-- Who is at work.
CREATE INDEX permit_held ON amends.permit (pool, tenant, key) WHERE state IN ('granted', 'held');
-- Grants of a key, latest last: for rates, and for taking turns.
CREATE INDEX permit_granted ON amends.permit (pool, tenant, key, granted_at)
    WHERE granted_at IS NOT NULL;
-- Grants that a saga has not heard of.
CREATE INDEX permit_unheard ON amends.permit (granted_at) WHERE state = 'granted';
CREATE INDEX permit_forget ON amends.permit (forget_at) WHERE forget_at IS NOT NULL;

-- Whose turn it is to grant: who grants raises `n`, and grants nothing if somebody has since it
-- looked. So every place is given once, whoever looks.
CREATE TABLE amends.permit_turn (n bigint NOT NULL);
INSERT INTO amends.permit_turn VALUES (0);
