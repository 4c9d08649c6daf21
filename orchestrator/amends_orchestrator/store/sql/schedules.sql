-- Starts by the clock. What the table means is told in amends-migrations,
-- versions/v0004_schedule.sql. Times are the database's; each statement is a whole transaction.

-- name: clock
-- The time by which schedules go.
SELECT clock_timestamp() AS now;

-- name: add_schedule
-- A new schedule; no row where its name is taken.
INSERT INTO amends.schedule (tenant, name, definition, version, cron, zone, input, labels,
                             catch_up, catch_up_max, added_by, added_at, next_at)
VALUES (:tenant, :name, :definition, :version::integer, :cron, :zone, :input::text::json,
        :labels::text::jsonb, :catch_up, :catch_up_max::integer, :added_by, clock_timestamp(),
        :next_at::timestamptz)
ON CONFLICT (tenant, name) DO NOTHING
RETURNING name;

-- name: schedules
-- All schedules of a tenant, or one of them.
SELECT tenant, name, definition, version, cron, zone, input::text AS input, labels::text AS labels,
       catch_up, catch_up_max, added_by, added_at, next_at, last_at, last_saga_id, last_problem
FROM amends.schedule
WHERE tenant = :tenant AND (name = :name OR :name::text IS NULL)
ORDER BY name;

-- name: remove_schedule
-- It starts nothing any more; what it has started goes on.
DELETE FROM amends.schedule WHERE tenant = :tenant AND name = :name RETURNING name;

-- name: due_schedules
-- Schedules whose time has come, of all tenants, longest due first.
SELECT clock.now, s.tenant, s.name, s.definition, s.version, s.cron, s.zone,
       s.input::text AS input, s.labels::text AS labels, s.catch_up, s.catch_up_max,
       s.added_by, s.added_at, s.next_at, s.last_at, s.last_saga_id, s.last_problem
FROM (SELECT clock_timestamp() AS now) AS clock
CROSS JOIN LATERAL (
    SELECT * FROM amends.schedule WHERE next_at <= clock.now ORDER BY next_at LIMIT :limit::integer
) AS s;

-- name: move_schedule
-- It was looked at: on to its next time, unless somebody else did so, or it was made anew.
UPDATE amends.schedule
SET next_at = :next_at::timestamptz,
    last_at = COALESCE(:last_at::timestamptz, last_at),
    last_saga_id = COALESCE(:last_saga_id::uuid, last_saga_id),
    last_problem = :last_problem
WHERE tenant = :tenant AND name = :name AND next_at IS NOT DISTINCT FROM :seen::timestamptz;
