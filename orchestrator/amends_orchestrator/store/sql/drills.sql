-- The record of drills (the data model is in the migration that made it). A handful of rows a day:
-- nothing here is hot, and nothing here is asked by the engine.

-- name: begin_run
INSERT INTO amends.drill_run (id, definition, version, digest, against)
VALUES (:id, :definition, :version, :digest, :against)

-- name: interrupted_run
-- A run of the same that never said it was over, not older than a day.
SELECT id FROM amends.drill_run
WHERE definition = :definition AND digest = :digest AND status = 'running'
    AND began_at > clock_timestamp() - interval '1 day'
ORDER BY began_at DESC LIMIT 1

-- name: keep_cell
-- A cell that is tried again says what it came to the last time.
INSERT INTO amends.drill_cell (run_id, step, fault, verdict, at, proven, result)
VALUES (:run_id, :step, :fault, :verdict, :at, :proven::text[], :result)
ON CONFLICT (run_id, step, fault) DO UPDATE
SET verdict = excluded.verdict, at = excluded.at, proven = excluded.proven,
    result = excluded.result

-- name: count_cells
UPDATE amends.drill_run SET cells = :cells WHERE id = :id

-- name: end_run
UPDATE amends.drill_run SET status = 'over', ended_at = clock_timestamp(), held = :held
WHERE id = :id

-- name: runs
-- Newest first: all, those of one definition, one alone, or of each definition the newest.
SELECT r.id, r.definition, r.version, r.against, r.status, r.cells, r.held::text, r.began_at, r.ended_at,
    count(c.*) FILTER (WHERE c.verdict = 'pass') AS passed,
    count(c.*) FILTER (WHERE c.verdict = 'fail') AS failed,
    count(c.*) FILTER (WHERE c.verdict = 'inconclusive') AS inconclusive
FROM amends.drill_run r LEFT JOIN amends.drill_cell c ON c.run_id = r.id
WHERE (:definition::text IS NULL OR r.definition = :definition)
    AND (:run_id::uuid IS NULL OR r.id = :run_id)
    AND (NOT :newest_only::boolean OR NOT EXISTS (
        SELECT FROM amends.drill_run later
        WHERE later.definition = r.definition AND (later.began_at, later.id) > (r.began_at, r.id)
    ))
GROUP BY r.id ORDER BY r.began_at DESC LIMIT :at_most

-- name: cells
SELECT result::text FROM amends.drill_cell WHERE run_id = :run_id ORDER BY at

-- name: newest_cells
-- The newest result of each cell of the matrix that the newest run of a definition has.
WITH newest AS (
    SELECT id, version FROM amends.drill_run
    WHERE definition = :definition ORDER BY began_at DESC LIMIT 1
), every AS (
    SELECT c.step, c.fault FROM amends.drill_cell c JOIN newest ON newest.id = c.run_id
)
SELECT DISTINCT ON (c.step, c.fault) c.step, c.fault, c.verdict, c.at,
    extract(epoch FROM clock_timestamp() - c.at) AS age_s
FROM amends.drill_cell c
JOIN amends.drill_run r ON r.id = c.run_id
JOIN newest ON newest.version = r.version
JOIN every ON every.step = c.step AND every.fault = c.fault
WHERE r.definition = :definition
ORDER BY c.step, c.fault, c.at DESC

-- name: proofs
-- When the undo of each step was seen to succeed for the last time.
SELECT r.definition, p.step, max(c.at) AS at, count(*) AS times,
    extract(epoch FROM clock_timestamp() - max(c.at)) AS age_s
FROM amends.drill_cell c
JOIN amends.drill_run r ON r.id = c.run_id
CROSS JOIN LATERAL unnest(c.proven) AS p (step)
WHERE :definition::text IS NULL OR r.definition = :definition
GROUP BY r.definition, p.step ORDER BY r.definition, p.step
