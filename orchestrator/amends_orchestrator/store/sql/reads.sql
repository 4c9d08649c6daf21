-- What pages, programs and `amends doctor` read. Each is one short statement without a transaction
-- around it: one left open anywhere would cost the hot rows their pruning. Lists go by keyset on
-- the saga's id (version 7: newest first is greatest first), and every list of sagas is a range of
-- an index for one tenant. Where the id finds the row, the tenant is compared by IS NOT DISTINCT
-- FROM, so that no other index is tried (see hot.sql).

-- name: list_sagas
-- A page of a tenant's sagas in any of the statuses: one index range per status, merged.
SELECT s.*
FROM unnest(:statuses::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, tenant, definition, version, key, partition, seq, status, residue, labels::text,
           trace_id, started_at, ended_at, wake_at
    FROM amends.saga
    WHERE tenant = :tenant AND status = wanted.status AND id < :before::uuid
    ORDER BY id DESC
    LIMIT :limit::integer
) AS s
ORDER BY s.id DESC
LIMIT :limit::integer;

-- name: list_sagas_of_definition
-- The same for one definition.
SELECT s.*
FROM unnest(:statuses::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT id, tenant, definition, version, key, partition, seq, status, residue, labels::text,
           trace_id, started_at, ended_at, wake_at
    FROM amends.saga
    WHERE tenant = :tenant AND definition = :definition AND status = wanted.status
      AND id < :before::uuid
    ORDER BY id DESC
    LIMIT :limit::integer
) AS s
ORDER BY s.id DESC
LIMIT :limit::integer;

-- name: list_sagas_labelled
-- The same for labels: walks the first label's sagas, newest first, and looks at the rest of the
-- conditions saga by saga. `definition` NULL means any.
SELECT s.id, s.tenant, s.definition, s.version, s.key, s.partition, s.seq, s.status, s.residue,
       s.labels::text, s.trace_id, s.started_at, s.ended_at, s.wake_at
FROM amends.saga_label AS l
JOIN amends.saga AS s ON s.id = l.saga_id
WHERE l.tenant = :tenant AND l.name = :name AND l.value = :value AND l.saga_id < :before::uuid
  AND s.tenant IS NOT DISTINCT FROM :tenant
  AND (s.definition = :definition OR :definition::text IS NULL)
  AND s.status = ANY (:statuses::text[])
  AND NOT EXISTS (
      SELECT
      FROM unnest(:other_names::text[], :other_values::text[]) AS other (name, value)
      WHERE NOT EXISTS (
          SELECT FROM amends.saga_label AS m
          WHERE (m.tenant, m.name, m.value, m.saga_id)
              = (l.tenant, other.name, other.value, l.saga_id)))
ORDER BY l.saga_id DESC
LIMIT :limit::integer;

-- name: saga
-- One saga with its control state.
SELECT id, tenant, definition, version, key, partition, seq, status, residue, labels::text,
       trace_id, started_at, ended_at, wake_at, state::text AS state
FROM amends.saga
WHERE id = :id::uuid AND tenant IS NOT DISTINCT FROM :tenant;

-- name: saga_by_key
-- The saga that a start with this key made.
SELECT s.id, s.tenant, s.definition, s.version, s.key, s.partition, s.seq, s.status, s.residue,
       s.labels::text, s.trace_id, s.started_at, s.ended_at, s.wake_at, s.state::text AS state
FROM amends.start_key AS k
JOIN amends.saga AS s ON s.id = k.saga_id
WHERE (k.tenant, k.definition, k.key) = (:tenant, :definition, :key);

-- name: heads
-- How far these sagas are: what waiting and live pages ask again and again.
SELECT id, seq, status FROM amends.saga WHERE id = ANY (:ids::uuid[]);

-- name: changed_since
-- Those of the shown sagas that are no longer at the seq they were shown at.
SELECT s.id, s.tenant, s.definition, s.version, s.key, s.partition, s.seq, s.status, s.residue,
       s.labels::text, s.trace_id, s.started_at, s.ended_at, s.wake_at
FROM unnest(:ids::uuid[], :seqs::integer[]) AS shown (id, seq)
JOIN amends.saga AS s ON s.id = shown.id
WHERE s.tenant IS NOT DISTINCT FROM :tenant AND s.seq <> shown.seq
ORDER BY s.id DESC;

-- name: journal
-- A stretch of a saga's journal.
SELECT j.seq, j.at, j.kind, j.step, j.attempt, j.data::text AS data
FROM amends.journal AS j
WHERE j.saga_id = :id::uuid AND j.seq > :after_seq::integer AND j.seq <= :until_seq::integer
  AND EXISTS (
      SELECT FROM amends.saga AS s
      WHERE s.id = j.saga_id AND s.tenant IS NOT DISTINCT FROM :tenant)
ORDER BY j.seq
LIMIT :limit::integer;

-- name: counts
-- A tenant's sagas by status, each counted up to `at_most`: beyond that nobody needs the number,
-- and counting millions would cost what it is worth.
SELECT wanted.status,
       (SELECT count(*)
        FROM (SELECT FROM amends.saga
              WHERE tenant = :tenant AND status = wanted.status
              LIMIT :at_most::integer) AS counted) AS n
FROM unnest(:statuses::text[]) AS wanted (status);

-- name: totals
-- The same over all tenants, found by skipping from one to the next in the index.
WITH RECURSIVE tenant AS (
    SELECT min(tenant) AS name FROM amends.saga WHERE tenant >= ''
    UNION ALL
    SELECT (SELECT min(s.tenant) FROM amends.saga AS s WHERE s.tenant > t.name)
    FROM tenant AS t
    WHERE t.name IS NOT NULL
)
SELECT wanted.status, sum(counted.n)::bigint AS n
FROM unnest(:statuses::text[]) AS wanted (status)
CROSS JOIN tenant
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (SELECT FROM amends.saga
          WHERE tenant = tenant.name AND status = wanted.status
          LIMIT :at_most::integer) AS bounded
) AS counted
GROUP BY wanted.status;

-- name: participants
-- What every instance last said, newest first within its service.
SELECT service, instance, sdk, horizon, accepts, commands::text AS commands, seen_at,
       seen_at > clock_timestamp() - make_interval(secs => :live_s::float8) AS live
FROM amends.participant
ORDER BY service, seen_at DESC, instance;

-- name: orchestrators
-- Every orchestrator seen in the last day, and how many partitions it holds.
SELECT o.id, o.started_at, o.until, o.claiming, o.until > clock_timestamp() AS live,
       (SELECT count(*) FROM amends.partition AS p WHERE p.owner = o.id) AS partitions
FROM amends.orchestrator AS o
ORDER BY o.started_at, o.id;

-- name: partitions
-- Every partition, who holds it, and since how many seconds its earliest saga is due (negative:
-- in how many; NULL: none waits).
SELECT p.pp, p.owner, COALESCE(o.until > clock_timestamp(), false) AS live,
       extract(epoch FROM clock_timestamp() - earliest.wake_at)::float8 AS behind_s
FROM amends.partition AS p
LEFT JOIN amends.orchestrator AS o ON o.id = p.owner
LEFT JOIN LATERAL (
    SELECT s.wake_at
    FROM amends.saga AS s
    WHERE s.partition = p.pp AND s.wake_at IS NOT NULL
    ORDER BY s.wake_at
    LIMIT 1
) AS earliest ON true
ORDER BY p.pp;

-- name: outbox
-- Messages the broker has not taken, by the orchestrator that publishes them.
SELECT b.orchestrator, COALESCE(bool_and(o.until > clock_timestamp()), false) AS live,
       count(*) AS rows, sum(b.n)::bigint AS messages, sum(octet_length(b.body))::bigint AS bytes,
       extract(epoch FROM clock_timestamp() - min(b.at))::float8 AS oldest_s
FROM amends.outbox AS b
LEFT JOIN amends.orchestrator AS o ON o.id = b.orchestrator
GROUP BY b.orchestrator
ORDER BY min(b.at);

-- name: pools
-- Where steps wait for permits, and how many are at work: what `amends doctor` shows. Pools are
-- found by skipping from one to the next in the index; counts stop at `at_most`.
WITH RECURSIVE pool AS (
    SELECT min(pool) AS name FROM amends.permit WHERE state = 'waiting' AND pool > ''
    UNION ALL
    SELECT (SELECT min(p.pool) FROM amends.permit AS p WHERE p.state = 'waiting' AND p.pool > o.name)
    FROM pool AS o
    WHERE o.name IS NOT NULL
)
SELECT pool.name AS pool,
       (SELECT count(*) FROM (SELECT FROM amends.permit AS w
                              WHERE w.pool = pool.name AND w.state = 'waiting'
                              LIMIT :at_most::integer) AS counted) AS waiting,
       (SELECT count(*) FROM (SELECT FROM amends.permit AS h
                              WHERE h.pool = pool.name AND h.state IN ('granted', 'held')
                              LIMIT :at_most::integer) AS counted) AS at_work,
       (SELECT extract(epoch FROM clock_timestamp() - min(g.granted_at))::float8
        FROM amends.permit AS g
        WHERE g.granted_at > '-infinity' AND g.state = 'granted') AS unheard_s
FROM pool
WHERE pool.name IS NOT NULL
ORDER BY pool.name
LIMIT 100;

-- name: circuits
-- Participants that live orchestrators hold off, each by the worst that is thought of it.
SELECT c.service, min(CASE c.state WHEN 'open' THEN 1 ELSE 2 END) = 1 AS open,
       max(c.bad) AS bad, max(c.looked_at) AS looked_at,
       extract(epoch FROM clock_timestamp() - min(c.at))::float8 AS since_s
FROM amends.circuit AS c
JOIN amends.orchestrator AS o ON o.id = c.orchestrator AND o.until > clock_timestamp()
GROUP BY c.service
ORDER BY c.service;
