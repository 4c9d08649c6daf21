-- What a batch of messages costs: one query to load, seldom one for recorded values, one statement
-- to write. What the tables mean is told in amends-migrations, versions/v0001_first.sql.
--
-- Every statement here is a whole transaction. All of them are run with arrays, one element per
-- saga, journal row or outbox row, and find their rows through indexes whatever the tables' size.
-- Plans are made once per session, perhaps on empty tables: where a condition must not tempt the
-- planner to another index than that of the id, it says IS NOT DISTINCT FROM, which no index serves.

-- name: load
-- What a batch needs: the database's time, the sagas asked for (also those that have ended), and
-- which of the start keys are taken (`start` is the position of the key in the arrays, from 1).
-- There is always at least one row, for the time.
SELECT clock.now, found.*
FROM (SELECT clock_timestamp() AS now) AS clock
LEFT JOIN (
    SELECT 0::bigint AS start, s.id AS saga_id, NULL::text AS input_digest,
           s.tenant, s.definition, s.version, s.key, s.partition,
           s.seq, s.status, s.state::text AS state, s.wake_at
    FROM amends.saga AS s
    WHERE s.id = ANY (:sagas::uuid[])
    UNION ALL
    SELECT asked.start, k.saga_id, k.input_digest,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM unnest(:tenants::text[], :definitions::text[], :keys::text[])
         WITH ORDINALITY AS asked (tenant, definition, key, start)
    JOIN amends.start_key AS k
      ON (k.tenant, k.definition, k.key) = (asked.tenant, asked.definition, asked.key)
) AS found ON true;

-- name: journal_values
-- The recorded data of single journal rows: outputs that the next expressions need.
SELECT j.saga_id, j.seq, j.data::text AS data
FROM unnest(:sagas::uuid[], :seqs::integer[]) AS wanted (saga_id, seq)
JOIN amends.journal AS j ON (j.saga_id, j.seq) = (wanted.saga_id, wanted.seq);

-- name: commit_batch
-- One batch, all or nothing.
--
-- The fence comes first: `changed` finds only sagas that are still at the seq they were loaded at,
-- and fence() ends the statement with SQLSTATE SG001 when it found fewer than there should be. A
-- saga or a start key that exists already is a unique violation. Being counted by the fence, these
-- three run before the other parts, so that a lost race or a repeated commit is never taken for a
-- wrong journal row. Sagas are given in the order of their ids, keys in theirs, and so are locked
-- in one order by everybody. `wake_at` only ever comes nearer here; it goes when the saga ends.
-- Permits are asked for, taken and given back with the decision, or not at all, and reviews are
-- written with it; a batch without any is spared that part.
WITH changed AS (
    UPDATE amends.saga AS s
    SET seq = c.seq,
        status = c.status,
        state = c.state::json,
        residue = c.residue,
        wake_at = CASE WHEN c.wake_at IS NOT NULL THEN LEAST(s.wake_at, c.wake_at) END,
        ended_at = COALESCE(s.ended_at, c.ended_at)
    FROM unnest(
        :changed_id::uuid[], :changed_loaded_seq::integer[], :changed_seq::integer[],
        :changed_status::text[], :changed_state::text[], :changed_residue::integer[],
        :changed_wake_at::timestamptz[], :changed_ended_at::timestamptz[]
    ) AS c (id, loaded_seq, seq, status, state, residue, wake_at, ended_at)
    WHERE s.id = c.id AND s.seq = c.loaded_seq
    RETURNING 1
),
started AS (
    INSERT INTO amends.saga (
        id, started_at, ended_at, wake_at, version, seq, residue, partition,
        tenant, definition, key, status, trace_id, labels, state)
    SELECT n.id, n.started_at, n.ended_at, n.wake_at, n.version, n.seq, n.residue, n.partition,
           n.tenant, n.definition, n.key, n.status, n.trace_id, n.labels::jsonb, n.state::json
    FROM unnest(
        :new_id::uuid[], :new_started_at::timestamptz[], :new_ended_at::timestamptz[],
        :new_wake_at::timestamptz[], :new_version::integer[], :new_seq::integer[],
        :new_residue::integer[], :new_partition::smallint[], :new_tenant::text[],
        :new_definition::text[], :new_key::text[], :new_status::text[], :new_trace_id::text[],
        :new_labels::text[], :new_state::text[]
    ) AS n (id, started_at, ended_at, wake_at, version, seq, residue, partition,
            tenant, definition, key, status, trace_id, labels, state)
    RETURNING 1
),
keyed AS (
    INSERT INTO amends.start_key (tenant, definition, key, input_digest, saga_id, at)
    SELECT * FROM unnest(
        :key_tenant::text[], :key_definition::text[], :key_key::text[],
        :key_input_digest::text[], :key_saga_id::uuid[], :key_at::timestamptz[])
    RETURNING 1
),
labelled AS (
    INSERT INTO amends.saga_label (tenant, name, value, saga_id)
    SELECT * FROM unnest(
        :label_tenant::text[], :label_name::text[], :label_value::text[], :label_saga_id::uuid[])
),
journalled AS (
    INSERT INTO amends.journal (saga_id, at, seq, attempt, kind, step, data)
    SELECT j.saga_id, j.at, j.seq, j.attempt, j.kind, j.step, j.data::json
    FROM unnest(
        :row_saga_id::uuid[], :row_at::timestamptz[], :row_seq::integer[],
        :row_attempt::integer[], :row_kind::text[], :row_step::text[], :row_data::text[]
    ) AS j (saga_id, at, seq, attempt, kind, step, data)
),
-- with reviews:
review_asked AS (
    INSERT INTO amends.review (
        saga_id, seq, requested_at, due, decided_at, notify_at, version, shown_seq, quorum,
        tenant, definition, key, step, command, title, status, digest, assignees, approved_by)
    SELECT a.saga_id, a.seq, a.at, a.due, a.decided_at, a.at, a.version, a.shown_seq, a.quorum,
           a.tenant, a.definition, a.key, a.step, a.command, a.title, a.status, a.digest,
           ARRAY(SELECT json_array_elements_text(a.assignees::json)),
           ARRAY(SELECT json_array_elements_text(a.approved_by::json))
    FROM unnest(
        :asked_saga_id::uuid[], :asked_seq::integer[], :asked_at::timestamptz[],
        :asked_due::timestamptz[], :asked_decided_at::timestamptz[], :asked_version::integer[],
        :asked_shown_seq::integer[], :asked_quorum::smallint[], :asked_tenant::text[],
        :asked_definition::text[], :asked_key::text[], :asked_step::text[],
        :asked_command::text[], :asked_title::text[], :asked_status::text[],
        :asked_digest::text[], :asked_assignees::text[], :asked_approved_by::text[]
    ) AS a (saga_id, seq, at, due, decided_at, version, shown_seq, quorum, tenant, definition, key,
            step, command, title, status, digest, assignees, approved_by)
),
review_changed AS (
    UPDATE amends.review AS v
    SET status = r.status,
        due = r.due,
        decided_at = COALESCE(v.decided_at, r.decided_at),
        notify_at = clock_timestamp(),
        notify_tries = 0,
        shown_seq = GREATEST(v.shown_seq, r.shown_seq),
        digest = r.digest,
        assignees = ARRAY(SELECT json_array_elements_text(r.assignees::json)),
        approved_by = ARRAY(SELECT json_array_elements_text(r.approved_by::json))
    FROM unnest(
        :review_saga_id::uuid[], :review_seq::integer[], :review_status::text[],
        :review_due::timestamptz[], :review_decided_at::timestamptz[],
        :review_shown_seq::integer[], :review_digest::text[], :review_assignees::text[],
        :review_approved_by::text[]
    ) AS r (saga_id, seq, status, due, decided_at, shown_seq, digest, assignees, approved_by)
    WHERE v.saga_id = r.saga_id AND v.seq = r.seq
),
-- end
sent AS (
    INSERT INTO amends.outbox (id, orchestrator, n, body)
    SELECT o.id, :orchestrator::uuid, o.n, o.body
    FROM unnest(:outbox_id::uuid[], :outbox_n::integer[], :outbox_body::bytea[]) AS o (id, n, body)
),
settled AS (
    DELETE FROM amends.outbox
    WHERE id = ANY (:settled::uuid[]) AND orchestrator = :orchestrator::uuid
),
rewritten AS (
    UPDATE amends.outbox AS o
    SET n = r.n, body = r.body
    FROM unnest(:rewritten_id::uuid[], :rewritten_n::integer[], :rewritten_body::bytea[])
         AS r (id, n, body)
    WHERE o.id = ANY (:rewritten_id::uuid[]) AND o.id = r.id
      AND o.orchestrator = :orchestrator::uuid
)
-- with permits:
, asked AS (
    INSERT INTO amends.permit (saga_id, step, ask, pool, tenant, key, asked_at,
                               concurrency, rate_count, rate_per, total)
    SELECT a.saga_id, a.step, a.ask, a.pool, a.tenant, a.key, a.asked_at,
           a.concurrency, a.rate_count, make_interval(secs => a.rate_per_s), a.total
    FROM unnest(
        :ask_saga_id::uuid[], :ask_step::text[], :ask_ask::integer[], :ask_pool::text[],
        :ask_tenant::text[], :ask_key::text[], :ask_asked_at::timestamptz[],
        :ask_concurrency::integer[], :ask_rate_count::integer[], :ask_rate_per_s::float8[],
        :ask_total::integer[]
    ) AS a (saga_id, step, ask, pool, tenant, key, asked_at,
            concurrency, rate_count, rate_per_s, total)
),
taken AS (
    UPDATE amends.permit AS p
    SET state = 'held'
    FROM unnest(:taken_saga_id::uuid[], :taken_step::text[], :taken_ask::integer[])
         AS t (saga_id, step, ask)
    WHERE (p.saga_id, p.step, p.ask) = (t.saga_id, t.step, t.ask)
      AND p.state IS NOT DISTINCT FROM 'granted'
),
returned AS (
    UPDATE amends.permit AS p
    SET state = 'returned',
        forget_at = GREATEST(clock_timestamp() + interval '10 s', p.granted_at + p.rate_per)
    FROM unnest(:returned_saga_id::uuid[], :returned_step::text[], :returned_ask::integer[])
         AS r (saga_id, step, ask)
    WHERE (p.saga_id, p.step, p.ask) = (r.saga_id, r.step, r.ask)
)
-- end
SELECT amends.fence(
    (SELECT count(*) FROM changed)
        + (SELECT count(*) FROM started) + (SELECT count(*) FROM keyed),
    cardinality(:changed_id::uuid[])
        + cardinality(:new_id::uuid[]) + cardinality(:key_saga_id::uuid[]));

-- name: settle_outbox
-- Own outbox rows whose messages the broker has taken, outside a batch.
WITH settled AS (
    DELETE FROM amends.outbox
    WHERE id = ANY (:settled::uuid[]) AND orchestrator = :orchestrator::uuid
)
UPDATE amends.outbox AS o
SET n = r.n, body = r.body
FROM unnest(:rewritten_id::uuid[], :rewritten_n::integer[], :rewritten_body::bytea[])
     AS r (id, n, body)
WHERE o.id = ANY (:rewritten_id::uuid[]) AND o.id = r.id AND o.orchestrator = :orchestrator::uuid;

-- name: outbox_row
-- Whether a batch whose commit got no answer is there: it is, if its outbox row is.
SELECT 1 FROM amends.outbox WHERE id = :id::uuid;

-- name: journal_witness
-- The same where there is no outbox row (any more): how many of these rows the journal has. It is
-- this batch if all are there: another's decisions are of another microsecond, or are the same.
SELECT count(*) AS there
FROM unnest(:sagas::uuid[], :seqs::integer[], :ats::timestamptz[], :kinds::text[])
     AS wanted (saga_id, seq, at, kind)
JOIN amends.journal AS j
  ON (j.saga_id, j.seq, j.at, j.kind) = (wanted.saga_id, wanted.seq, wanted.at, wanted.kind);

-- name: rearm
-- The next look at sagas that were due and had nothing to do, unless they moved since.
UPDATE amends.saga AS s
SET wake_at = r.later
FROM unnest(
    :ids::uuid[], :seqs::integer[], :seen::timestamptz[], :later::timestamptz[]
) AS r (id, seq, seen, later)
WHERE s.id = r.id AND s.seq = r.seq AND s.wake_at IS NOT DISTINCT FROM r.seen;
