-- The one loop that grants permits. What they are is told in amends-migrations,
-- versions/v0005_permits.sql. Each statement is a whole transaction; any orchestrator may run it.

-- name: grant_permits
-- One look at the queues (*lanes*: pool, tenant, key) after the given one. The oldest request of a
-- lane says what limits the lane. In a pool with a total those lanes come first that have least at
-- work, among them who was served longest ago.
--
-- The turn is locked and raised by who grants. Where somebody else was just done, its number in the
-- locked row differs from the one `seen` before, and nothing is granted on what was seen: so no
-- place is given twice. Who gives back or asks meanwhile only adds to what the next look finds.
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
),
turn AS MATERIALIZED (
    SELECT t.n
    FROM amends.permit_turn AS t
    JOIN amends.permit_turn AS seen ON seen.n = t.n
    WHERE EXISTS (SELECT FROM amends.permit WHERE pool > '' AND state = 'waiting')
    FOR UPDATE OF t SKIP LOCKED
),
lane AS (
    (SELECT p.pool, p.tenant, p.key, 1 AS n
     FROM amends.permit AS p
     WHERE (p.pool, p.tenant, p.key) > (:pool::text, :tenant::text, :key::text)
       AND p.state = 'waiting' AND EXISTS (SELECT FROM turn)
     ORDER BY p.pool, p.tenant, p.key
     LIMIT 1)
    UNION ALL
    SELECT next.pool, next.tenant, next.key, lane.n + 1
    FROM lane
    CROSS JOIN LATERAL (
        SELECT p.pool, p.tenant, p.key
        FROM amends.permit AS p
        WHERE (p.pool, p.tenant, p.key) > (lane.pool, lane.tenant, lane.key)
          AND p.state = 'waiting'
        ORDER BY p.pool, p.tenant, p.key
        LIMIT 1
    ) AS next
    WHERE lane.n < :lanes::integer
),
used AS MATERIALIZED (
    SELECT lane.pool, lane.tenant, lane.key,
           head.concurrency, head.rate_count, head.rate_per, head.total,
           (SELECT count(*) FROM amends.permit AS h
            WHERE (h.pool, h.tenant, h.key) = (lane.pool, lane.tenant, lane.key)
              AND h.state IN ('granted', 'held')) AS held,
           CASE WHEN head.total IS NOT NULL THEN
               (SELECT count(*) FROM amends.permit AS h
                WHERE h.pool = lane.pool
                  AND h.state IN ('granted', 'held')) END AS held_in_all,
           CASE WHEN head.rate_count IS NOT NULL THEN
               (SELECT count(*) FROM amends.permit AS g
                WHERE (g.pool, g.tenant, g.key) = (lane.pool, lane.tenant, lane.key)
                  AND g.granted_at > clock.now - head.rate_per) END AS lately,
           (SELECT max(g.granted_at) FROM amends.permit AS g
            WHERE (g.pool, g.tenant, g.key) = (lane.pool, lane.tenant, lane.key)
              AND g.granted_at > '-infinity') AS served_at
    FROM clock, lane
    CROSS JOIN LATERAL (
        SELECT p.concurrency, p.rate_count, p.rate_per, p.total
        FROM amends.permit AS p
        WHERE (p.pool, p.tenant, p.key) = (lane.pool, lane.tenant, lane.key)
          AND p.state = 'waiting'
        ORDER BY p.asked_at
        LIMIT 1
    ) AS head
),
next_in_lane AS MATERIALIZED (
    SELECT used.pool, used.held, used.held_in_all, used.total, used.served_at, waiting.*,
           row_number() OVER (PARTITION BY used.pool, used.tenant, used.key
                              ORDER BY waiting.asked_at, waiting.saga_id, waiting.step) AS nth
    FROM used
    CROSS JOIN LATERAL (
        SELECT p.saga_id, p.step, p.ask, p.asked_at
        FROM amends.permit AS p
        JOIN amends.saga AS s ON s.id = p.saga_id AND s.status IS NOT DISTINCT FROM 'running'
        WHERE (p.pool, p.tenant, p.key) = (used.pool, used.tenant, used.key)
          AND p.state = 'waiting'
        ORDER BY p.asked_at
        LIMIT GREATEST(0, LEAST(used.concurrency - used.held, used.rate_count - used.lately,
                                used.total - used.held_in_all, :limit::integer))
    ) AS waiting
),
placed AS (
    SELECT saga_id, step, ask, total - held_in_all AS places,
           row_number() OVER (
               PARTITION BY pool
               ORDER BY held + nth, served_at NULLS FIRST, asked_at, saga_id) AS place
    FROM next_in_lane
),
chosen AS MATERIALIZED (
    SELECT saga_id, step, ask
    FROM placed
    WHERE places IS NULL OR place <= places
    ORDER BY place
    LIMIT :limit::integer
),
locked AS MATERIALIZED (
    SELECT p.saga_id, p.step, p.ask
    FROM chosen AS c
    JOIN amends.permit AS p ON (p.saga_id, p.step, p.ask) = (c.saga_id, c.step, c.ask)
    WHERE p.state IS NOT DISTINCT FROM 'waiting'
    FOR UPDATE OF p SKIP LOCKED
),
granted AS (
    UPDATE amends.permit AS p
    SET state = 'granted', granted_at = clock.now
    FROM locked, clock
    WHERE (p.saga_id, p.step, p.ask) = (locked.saga_id, locked.step, locked.ask)
    RETURNING p.saga_id, p.step, p.ask
),
turned AS (
    UPDATE amends.permit_turn AS t
    SET n = t.n + 1
    FROM turn
    WHERE t.n = turn.n AND EXISTS (SELECT FROM locked)
),
unheard AS (
    SELECT late.*
    FROM clock
    CROSS JOIN LATERAL (
        SELECT p.saga_id, p.step, p.ask
        FROM amends.permit AS p
        WHERE p.granted_at < clock.now - make_interval(secs => :unheard_s::float8)
          AND p.state = 'granted'
        ORDER BY p.granted_at
        LIMIT :limit::integer
    ) AS late
),
forgotten AS (
    DELETE FROM amends.permit AS p
    USING (
        SELECT q.saga_id, q.step, q.ask
        FROM clock, amends.permit AS q
        WHERE q.forget_at < clock.now
        LIMIT 2000
        FOR UPDATE OF q SKIP LOCKED
    ) AS old
    WHERE (p.saga_id, p.step, p.ask) = (old.saga_id, old.step, old.ask)
),
told AS MATERIALIZED (
    SELECT saga_id, step, ask FROM granted UNION ALL SELECT saga_id, step, ask FROM unheard
)
SELECT clock.now,
       ARRAY (SELECT saga_id FROM told) AS saga_id,
       ARRAY (SELECT step FROM told) AS step,
       ARRAY (SELECT ask FROM told) AS ask,
       (SELECT min(first.granted_at + used.rate_per)
        FROM used
        CROSS JOIN LATERAL (
            SELECT g.granted_at
            FROM amends.permit AS g
            WHERE (g.pool, g.tenant, g.key) = (used.pool, used.tenant, used.key)
              AND g.granted_at > clock.now - used.rate_per
            ORDER BY g.granted_at
            LIMIT 1
        ) AS first
        WHERE used.rate_count <= used.lately) AS next_at,
       (SELECT ARRAY[pool, tenant, key] FROM lane WHERE n = :lanes::integer) AS last,
       NOT EXISTS (SELECT FROM turn) AND EXISTS (
           SELECT FROM amends.permit WHERE pool > '' AND state = 'waiting') AS busy
FROM clock;

-- name: return_strays
-- Take back what a saga holds that has ended or is not there. Decisions give back what they
-- settle, so this finds nothing, unless rows were removed or restored by hand.
WITH stray AS (
    SELECT p.saga_id, p.step, p.ask
    FROM amends.permit AS p
    LEFT JOIN amends.saga AS s ON s.id = p.saga_id
    WHERE p.pool > '' AND p.state IN ('granted', 'held') AND s.wake_at IS NULL
    LIMIT :limit::integer
    FOR UPDATE OF p SKIP LOCKED
)
UPDATE amends.permit AS p
SET state = 'returned', forget_at = clock_timestamp()
FROM stray
WHERE (p.saga_id, p.step, p.ask) = (stray.saga_id, stray.step, stray.ask)
RETURNING 1;
