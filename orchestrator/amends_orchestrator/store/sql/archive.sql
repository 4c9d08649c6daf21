-- Taking sagas that are over out of the database. Run by `amends archive`, beside the service, in
-- one transaction per batch: look, write the file, delete. What the tables mean is told in
-- amends-migrations, versions/v0001_first.sql and v0008_archive.sql.

-- name: candidates
-- Sagas to archive, oldest first, by keyset on the id (version 7: by the time they were started),
-- locked; what another archiving run has in hand is passed over. What can still be needed stays:
-- a child as long as a saga that asked for it is here (whose undo would take it back), a saga that
-- is being undone late, and an undo as long as what it undid is here.
SELECT s.id, s.seq
FROM amends.saga AS s
WHERE s.id > :after::uuid AND s.id < :until::uuid
  AND s.wake_at IS NULL AND s.ended_at < :ended_before::timestamptz
  AND (s.definition IS NOT DISTINCT FROM :definition OR :definition::text IS NULL)
  AND (s.tenant IS NOT DISTINCT FROM :tenant OR :tenant::text IS NULL)
  AND NOT EXISTS (
      SELECT
      FROM amends.journal AS j
      JOIN amends.saga AS asker ON asker.id = COALESCE(
          j.data -> 'asked' ->> 'saga_id', j.data -> 'asker' ->> 'saga_id')::uuid
      WHERE j.saga_id = s.id AND (j.seq = 1 OR j.kind = 'saga.asked'))
  AND NOT EXISTS (
      SELECT
      FROM amends.journal AS j
      JOIN amends.saga AS original ON original.id = (j.data ->> 'undoes')::uuid
      WHERE j.saga_id = s.id AND j.seq = 1)
  AND NOT EXISTS (
      SELECT
      FROM amends.start_key AS k
      JOIN amends.saga AS undo ON undo.id = k.saga_id
      WHERE (k.tenant, k.definition, k.key) = (s.tenant, s.definition, 'undo:' || s.id)
        AND undo.wake_at IS NOT NULL)
ORDER BY s.id
LIMIT :limit::integer
FOR UPDATE OF s SKIP LOCKED;

-- name: sagas
-- The sagas themselves.
SELECT id, tenant, definition, version, key, status, residue, started_at, ended_at, trace_id,
       labels::text AS labels, state::text AS state
FROM amends.saga
WHERE id = ANY (:ids::uuid[])
ORDER BY id;

-- name: journals
-- All that happened to them.
SELECT saga_id, seq, at, kind, step, attempt, data::text AS data
FROM amends.journal
WHERE saga_id = ANY (:ids::uuid[])
ORDER BY saga_id, seq;

-- name: remove
-- They are in a file: delete them, with what belongs to them. Their participants are told so by an
-- outbox row of nobody, which a running orchestrator takes over and publishes.
WITH gone AS (
    DELETE FROM amends.saga
    WHERE id = ANY (:ids::uuid[])
    RETURNING id, tenant, definition, key, labels
),
journalled AS (
    DELETE FROM amends.journal WHERE saga_id = ANY (:ids::uuid[])
),
labelled AS (
    DELETE FROM amends.saga_label AS l
    USING gone, jsonb_each_text(gone.labels) AS label
    WHERE (l.tenant, l.name, l.value, l.saga_id)
        = (gone.tenant, label.key, label.value, gone.id)
),
reviewed AS (
    DELETE FROM amends.review WHERE saga_id = ANY (:ids::uuid[])
),
keyed AS (
    UPDATE amends.start_key AS k
    SET archived_at = clock_timestamp()
    FROM gone
    WHERE (k.tenant, k.definition, k.key) = (gone.tenant, gone.definition, gone.key)
),
sent AS (
    INSERT INTO amends.outbox (id, orchestrator, n, body)
    SELECT :outbox_id::uuid, '00000000-0000-0000-0000-000000000000', :n::integer, :body::bytea
    WHERE :n::integer > 0
)
SELECT count(*) AS gone FROM gone;

-- name: forget_keys
-- Start keys whose sagas were archived 30 days ago, some at a time.
WITH old AS (
    SELECT tenant, definition, key
    FROM amends.start_key
    WHERE archived_at < clock_timestamp() - interval '30 days'
    LIMIT :limit::integer
    FOR UPDATE SKIP LOCKED
)
DELETE FROM amends.start_key AS k
USING old
WHERE (k.tenant, k.definition, k.key) = (old.tenant, old.definition, old.key);
