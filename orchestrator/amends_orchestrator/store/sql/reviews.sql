-- What is read of reviews, and who is told of them. Rows are written by `commit_batch` (hot.sql).

-- name: list_reviews_open
-- A page of a tenant's open reviews, longest waiting first; with `held` only those that one of
-- these names and roles may decide.
SELECT saga_id, seq, tenant, definition, version, key, step, command, title, status, quorum,
       assignees, approved_by, digest, shown_seq, requested_at, due, decided_at
FROM amends.review
WHERE tenant = :tenant AND status = 'open'
  AND (requested_at, saga_id, seq) > (:at::timestamptz, :id::uuid, :seq::integer)
  AND (:held::text[] IS NULL OR assignees = '{}' OR assignees && :held::text[])
ORDER BY requested_at, saga_id, seq
LIMIT :limit::integer;

-- name: list_reviews_over
-- The same of those that are over, by one status, latest first.
SELECT saga_id, seq, tenant, definition, version, key, step, command, title, status, quorum,
       assignees, approved_by, digest, shown_seq, requested_at, due, decided_at
FROM amends.review
WHERE tenant = :tenant AND status = :status
  AND (requested_at, saga_id, seq) < (:at::timestamptz, :id::uuid, :seq::integer)
  AND (:held::text[] IS NULL OR assignees = '{}' OR assignees && :held::text[])
ORDER BY requested_at DESC, saga_id DESC, seq DESC
LIMIT :limit::integer;

-- name: review
-- One review.
SELECT saga_id, seq, tenant, definition, version, key, step, command, title, status, quorum,
       assignees, approved_by, digest, shown_seq, requested_at, due, decided_at
FROM amends.review
WHERE saga_id = :id::uuid AND seq = :seq::integer AND tenant IS NOT DISTINCT FROM :tenant;

-- name: review_shown
-- What it shows now.
SELECT (data -> 'show')::text AS shown
FROM amends.journal
WHERE saga_id = :id::uuid AND seq = :seq::integer;

-- name: review_decisions
-- What was decided on it, in order.
SELECT at, data::text AS data
FROM amends.journal
WHERE saga_id = :id::uuid AND seq > :seq::integer AND kind = 'review.decided' AND step = :step
  AND (data ->> 'review')::integer = :seq::integer
ORDER BY seq
LIMIT :limit::integer;

-- name: waiting_reviews
-- How many are open, counted up to `at_most`.
SELECT count(*) AS n
FROM (SELECT FROM amends.review WHERE tenant = :tenant AND status = 'open'
      LIMIT :at_most::integer) AS waiting;

-- name: claim_notices
-- Reviews of which somebody is to be told now. They are put off first, longer each time: an
-- orchestrator that dies on the way, or a receiver that does not answer, delays and loses nothing.
UPDATE amends.review AS v
SET notify_tries = LEAST(v.notify_tries + 1, 1000),
    notify_at = clock_timestamp() + make_interval(
        secs => LEAST(:again_s::float8 * 2 ^ LEAST(v.notify_tries, 20), :again_max_s::float8))
FROM (
    SELECT saga_id, seq
    FROM amends.review
    WHERE notify_at <= now()
    ORDER BY notify_at
    LIMIT :limit::integer
    FOR UPDATE SKIP LOCKED
) AS due
WHERE v.saga_id = due.saga_id AND v.seq = due.seq
RETURNING v.saga_id, v.seq, v.tenant, v.definition, v.version, v.key, v.step, v.command, v.title,
          v.status, v.quorum, v.assignees, v.approved_by, v.digest, v.shown_seq, v.requested_at,
          v.due, v.decided_at, v.told, v.notify_at;

-- name: told_notices
-- These were told. An open review is told of again after `remind_s`; one that has changed since is
-- told of when its change wants it, as one that somebody has heard of.
UPDATE amends.review AS v
SET told = t.told,
    notify_tries = CASE WHEN v.notify_at IS NOT DISTINCT FROM t.seen
                        THEN 0 ELSE v.notify_tries END,
    notify_at = CASE WHEN v.notify_at IS DISTINCT FROM t.seen THEN v.notify_at
                     WHEN v.status = 'open' AND :remind_s::float8 > 0
                     THEN clock_timestamp() + make_interval(secs => :remind_s::float8) END
FROM unnest(:ids::uuid[], :seqs::integer[], :told::text[], :seen::timestamptz[])
     AS t (saga_id, seq, told, seen)
WHERE v.saga_id = t.saga_id AND v.seq = t.seq;
