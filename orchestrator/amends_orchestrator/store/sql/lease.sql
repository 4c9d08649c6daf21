-- Who is alive, who owns which partition, what is due there, and whose outbox rows are orphans.
-- All times are the database's; each statement is a whole transaction.

-- name: tick
-- One round of an orchestrator, about every second. It renews its lease, keeps its partitions,
-- takes free ones (of nobody, or of one whose lease is over) up to a fair share of those that are
-- alive and claiming, and looks what is due. What is over the share stays until it is released.
--
-- Two that claim at the same time skip each other's rows; and where the other was just done, its
-- name in the locked row differs from the one `seen` before, and the row is left to it.
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
),
me AS (
    INSERT INTO amends.orchestrator AS o (id, started_at, until, claiming)
    SELECT :orchestrator::uuid, now, now + make_interval(secs => :lease_s::float8), :claim::boolean
    FROM clock
    ON CONFLICT (id) DO UPDATE SET until = excluded.until, claiming = excluded.claiming
    RETURNING o.until
),
forgotten AS (
    DELETE FROM amends.orchestrator AS o
    USING clock
    WHERE o.id <> :orchestrator::uuid AND o.until < clock.now - interval '1 day'
),
alive AS MATERIALIZED (
    SELECT o.id, o.claiming
    FROM amends.orchestrator AS o, clock
    WHERE o.id <> :orchestrator::uuid AND o.until > clock.now
),
share AS MATERIALIZED (
    SELECT (SELECT count(*) FROM amends.partition) AS partitions,
           (SELECT count(*) FROM alive WHERE claiming) + 1 AS live
),
kept AS MATERIALIZED (
    SELECT p.pp FROM amends.partition AS p WHERE p.owner = :orchestrator::uuid
),
free AS MATERIALIZED (
    SELECT p.pp
    FROM amends.partition AS p
    JOIN amends.partition AS seen
      ON seen.pp = p.pp AND seen.owner IS NOT DISTINCT FROM p.owner
    WHERE :claim::boolean
      AND (p.owner IS NULL OR p.owner NOT IN (SELECT id FROM alive))
      AND p.owner IS DISTINCT FROM :orchestrator::uuid
    ORDER BY p.pp
    LIMIT (SELECT GREATEST(0, (partitions + live - 1) / live - (SELECT count(*) FROM kept))
           FROM share)
    FOR UPDATE SKIP LOCKED
),
taken AS (
    UPDATE amends.partition AS p
    SET owner = :orchestrator::uuid
    FROM free
    WHERE p.pp = free.pp
    RETURNING p.pp
),
owned AS MATERIALIZED (
    SELECT pp FROM kept UNION ALL SELECT pp FROM taken
),
due AS MATERIALIZED (
    SELECT s.id, s.seq, s.wake_at
    FROM owned, clock
    CROSS JOIN LATERAL (
        SELECT id, seq, wake_at
        FROM amends.saga
        WHERE partition = owned.pp AND wake_at <= clock.now
        ORDER BY wake_at
        LIMIT :limit::integer
    ) AS s
    ORDER BY s.wake_at, s.id
    LIMIT :limit::integer
)
SELECT clock.now, me.until, share.live, share.partitions,
       ARRAY (SELECT pp FROM owned) AS owned,
       ARRAY (SELECT id FROM due) AS due_id,
       ARRAY (SELECT seq FROM due) AS due_seq,
       ARRAY (SELECT wake_at FROM due) AS due_wake_at,
       (SELECT min(next.wake_at)
        FROM owned
        CROSS JOIN LATERAL (
            SELECT wake_at
            FROM amends.saga
            WHERE partition = owned.pp AND wake_at > clock.now
            ORDER BY wake_at
            LIMIT 1
        ) AS next) AS next_wake,
       EXISTS (SELECT FROM amends.permit WHERE pool > '' AND state = 'waiting')
       OR EXISTS (SELECT FROM amends.permit
                  WHERE granted_at > '-infinity' AND state = 'granted') AS permits,
       EXISTS (SELECT FROM amends.schedule WHERE next_at <= clock.now) AS schedules
FROM clock, me, share;

-- name: release
-- Give partitions up: they are not consumed any more.
UPDATE amends.partition
SET owner = NULL
WHERE owner = :orchestrator::uuid AND pp = ANY (:partitions::smallint[]);

-- name: leave
-- End a lease at once, with its partitions. Outbox rows stay and are orphans from now on.
WITH gone AS (
    DELETE FROM amends.orchestrator WHERE id = :orchestrator::uuid
)
UPDATE amends.partition SET owner = NULL WHERE owner = :orchestrator::uuid;

-- name: claim_outbox
-- Take over outbox rows whose orchestrator is not alive. Found by that state, never by "newer than
-- the last one seen": transactions do not become visible in the order of their ids.
WITH orphan AS (
    SELECT o.id
    FROM amends.outbox AS o
    WHERE o.orchestrator <> :orchestrator::uuid
      AND NOT EXISTS (
          SELECT FROM amends.orchestrator AS l
          WHERE l.id = o.orchestrator AND l.until > clock_timestamp())
    ORDER BY o.id
    LIMIT :limit::integer
    FOR UPDATE OF o SKIP LOCKED
)
UPDATE amends.outbox AS o
SET orchestrator = :orchestrator::uuid
FROM orphan
WHERE o.id = orphan.id
RETURNING o.id, o.n, o.body;

-- name: stray_outbox
-- Own outbox rows that the orchestrator does not know of: of a commit or a claim whose answer was
-- lost, and that came through after all.
SELECT id, n, body
FROM amends.outbox
WHERE orchestrator = :orchestrator::uuid AND id <> ALL (:known::uuid[])
ORDER BY id;

-- name: add_partitions
-- Raise the number of partitions; never lowers it.
INSERT INTO amends.partition (pp)
SELECT generate_series(0, :count::integer - 1)
ON CONFLICT (pp) DO NOTHING;

-- name: keep_hello
-- What a participant's instance says of itself, in place of what it said before. Instances of the
-- service that have been silent for a day are dropped; the last one of a service stays.
WITH silent AS (
    DELETE FROM amends.participant
    WHERE service = :service AND instance <> :instance
      AND seen_at < clock_timestamp() - interval '1 day'
)
INSERT INTO amends.participant (service, instance, sdk, horizon, accepts, commands, seen_at)
VALUES (:service, :instance, :sdk, :horizon, :accepts::text[], :commands::text::json,
        clock_timestamp())
ON CONFLICT (service, instance) DO UPDATE
SET sdk = excluded.sdk, horizon = excluded.horizon, accepts = excluded.accepts,
    commands = excluded.commands, seen_at = excluded.seen_at;

-- name: keep_circuit
-- What an orchestrator thinks of a participant, for people to see. A closed circuit is not shown,
-- nor what an orchestrator thought that is gone.
WITH gone AS (
    DELETE FROM amends.circuit AS c
    WHERE c.orchestrator = :orchestrator::uuid AND c.service = :service AND :state = 'closed'
       OR NOT EXISTS (
          SELECT FROM amends.orchestrator AS o
          WHERE o.id = c.orchestrator AND o.until > clock_timestamp() - interval '1 minute')
)
INSERT INTO amends.circuit (service, orchestrator, state, bad, looked_at, pause_s, at)
SELECT :service, :orchestrator::uuid, :state, :bad::integer, :looked_at::integer,
       :pause_s::float8, clock_timestamp()
WHERE :state <> 'closed'
ON CONFLICT (service, orchestrator) DO UPDATE
SET state = excluded.state, bad = excluded.bad, looked_at = excluded.looked_at,
    pause_s = excluded.pause_s, at = excluded.at;

-- name: hellos
-- What participants say of their commands, oldest first: what an orchestrator knows of outputs.
SELECT commands::text AS commands FROM amends.participant ORDER BY seen_at;
