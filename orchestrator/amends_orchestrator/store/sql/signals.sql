-- Signals for sagas that are not there yet (table `signal`): kept, handed over, dropped.
-- Each statement is a whole transaction.

-- name: keep
-- Keep a signal, unless the start is there already or too many wait for it. What came of it is
-- looked at by the next statement, in a transaction of its own: first commit, then look.
INSERT INTO amends.signal (tenant, definition, key, id, event, who, digest, data)
SELECT :tenant, :definition, :key, :id, :event, :who, :digest, :data::text::json
WHERE NOT EXISTS (
        SELECT FROM amends.start_key
        WHERE (tenant, definition, key) = (:tenant, :definition, :key))
  AND (SELECT count(*)
       FROM (SELECT FROM amends.signal
             WHERE (tenant, definition, key) = (:tenant, :definition, :key)
             LIMIT :most::integer) AS waiting) < :most::integer
ON CONFLICT (tenant, definition, key, id) DO NOTHING;

-- name: look
-- Whether the start is there, and what is kept under the signal's id.
SELECT k.key IS NOT NULL AS started, k.saga_id, k.input_digest, s.digest
FROM (SELECT) AS always
LEFT JOIN amends.start_key AS k
  ON (k.tenant, k.definition, k.key) = (:tenant, :definition, :key)
LEFT JOIN amends.signal AS s
  ON (s.tenant, s.definition, s.key, s.id) = (:tenant, :definition, :key, :id);

-- name: ready_of
-- The signals kept for these starts, oldest first, where the start is there.
SELECT s.tenant, s.definition, s.key, s.id, s.event, s.who, s.digest, s.data::text AS data,
       k.saga_id
FROM unnest(:tenants::text[], :definitions::text[], :keys::text[])
     AS asked (tenant, definition, key)
JOIN amends.signal AS s
  ON (s.tenant, s.definition, s.key) = (asked.tenant, asked.definition, asked.key)
JOIN amends.start_key AS k
  ON (k.tenant, k.definition, k.key) = (s.tenant, s.definition, s.key)
ORDER BY s.at, s.id
LIMIT :limit::integer;

-- name: ready
-- The same for all starts: what an orchestrator that died after a start did not look for.
SELECT s.tenant, s.definition, s.key, s.id, s.event, s.who, s.digest, s.data::text AS data,
       k.saga_id
FROM amends.signal AS s
JOIN amends.start_key AS k
  ON (k.tenant, k.definition, k.key) = (s.tenant, s.definition, s.key)
ORDER BY s.at, s.id
LIMIT :limit::integer;

-- name: settle
-- These signals are recorded by their sagas, or refused for good; those with an outcome leave a
-- row in the audit.
WITH done AS (
    DELETE FROM amends.signal AS s
    USING unnest(
        :tenants::text[], :definitions::text[], :keys::text[], :ids::text[], :sagas::uuid[],
        :outcomes::text[]
    ) AS d (tenant, definition, key, id, saga_id, outcome)
    WHERE (s.tenant, s.definition, s.key, s.id) = (d.tenant, d.definition, d.key, d.id)
    RETURNING s.tenant, s.definition, s.key, s.id, s.event, s.who, d.saga_id, d.outcome
)
INSERT INTO amends.audit (saga_id, tenant, who, action, subject, reason, outcome)
SELECT saga_id, tenant, who, 'signal', definition || ' ' || key,
       'event ' || event || ', id ' || id || ': refused by the saga', outcome
FROM done
WHERE outcome IS NOT NULL;

-- name: drop_old
-- What no saga came for, with a row in the audit for each; how many there were.
WITH old AS (
    DELETE FROM amends.signal
    WHERE at < clock_timestamp() - make_interval(secs => :kept_s::float8)
    RETURNING tenant, definition, key, id, event, who
),
told AS (
    INSERT INTO amends.audit (tenant, who, action, subject, reason, outcome)
    SELECT tenant, who, 'signal', definition || ' ' || key,
           'event ' || event || ', id ' || id || ': no saga came for it', 'amends:expired'
    FROM old
    RETURNING 1
)
SELECT count(*) AS n FROM told;
