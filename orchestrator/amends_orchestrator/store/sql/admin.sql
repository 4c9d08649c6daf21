-- Definitions, API keys and audit: written seldom, by people and their programs.

-- name: register
-- A new version of a definition; returns a row only if it is new.
INSERT INTO amends.definition (name, version, digest, document)
VALUES (:name, :version::integer, :digest, :document::text::json)
ON CONFLICT (name, version) DO NOTHING
RETURNING version;

-- name: definition
-- One version, or the newest that takes starts, or the newest.
SELECT name, version, digest, document::text AS document, at, retired_at
FROM amends.definition
WHERE name = :name AND (version = :version::integer OR :version::integer IS NULL)
ORDER BY retired_at IS NOT NULL, version DESC
LIMIT 1;

-- name: versions
-- All versions of one definition, newest first.
SELECT name, version, digest, document::text AS document, at, retired_at
FROM amends.definition
WHERE name = :name
ORDER BY version DESC;

-- name: newest
-- The newest version of every definition.
SELECT DISTINCT ON (name) name, version, digest, document::text AS document, at, retired_at
FROM amends.definition
ORDER BY name, version DESC;

-- name: is_retired
-- Whether a version takes no starts any more; no row if there is no such version.
SELECT retired_at IS NOT NULL AS retired
FROM amends.definition
WHERE (name, version) = (:name, :version::integer);

-- name: retire
-- From now on a version takes no starts; once is enough.
UPDATE amends.definition
SET retired_at = clock_timestamp()
WHERE (name, version) = (:name, :version::integer) AND retired_at IS NULL;

-- name: debt
-- What a version still owes, each counted up to `at_most`: sagas that have not ended, and completed
-- ones whose undo window, counted from their end, is open. Without a window the latter is not looked
-- at; with one it reads the completed sagas of the definition.
SELECT (
    SELECT count(*) FROM (
        SELECT 1 FROM amends.saga
        WHERE definition = :name AND status = ANY (:unended::text[])
          AND version IS NOT DISTINCT FROM :version::integer
        LIMIT :at_most::integer
    ) AS unended
) AS open, (
    SELECT count(*) FROM (
        SELECT 1 FROM amends.saga
        WHERE definition = :name AND status = 'completed' AND :window_s::float8 > 0
          AND version IS NOT DISTINCT FROM :version::integer
          AND ended_at > clock_timestamp() - make_interval(secs => :window_s::float8)
        LIMIT :at_most::integer
    ) AS ended
) AS undoable;

-- name: create_key
-- A new key: only its hash comes here.
INSERT INTO amends.api_key (
    prefix, hash, name, tenant, scope, broker_user, expires_at, roles)
VALUES (:prefix, :hash::bytea, :name, :tenant, :scope, :broker_user, :expires_at::timestamptz,
        :roles::text[]);

-- name: find_key
-- The key of a prefix, while it is valid.
SELECT prefix, hash, name, tenant, scope, roles
FROM amends.api_key
WHERE prefix = :prefix AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: key_of_user
-- The valid key that names a user of the broker.
SELECT prefix, name, tenant, scope, roles
FROM amends.api_key
WHERE broker_user = :broker_user AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > clock_timestamp());

-- name: keys
-- All valid keys.
SELECT prefix, name, tenant, scope, broker_user, created_at, expires_at, roles
FROM amends.api_key
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY tenant, name, prefix;

-- name: revoke_key
-- End keys now, by name or prefix. They give up their broker user, which another may take then.
UPDATE amends.api_key
SET revoked_at = clock_timestamp(), broker_user = NULL
WHERE (prefix = :which OR name = :which) AND revoked_at IS NULL
RETURNING prefix;

-- name: record
-- One row of the audit.
INSERT INTO amends.audit (saga_id, tenant, who, action, subject, step, reason, outcome)
VALUES (:saga_id::uuid, :tenant, :who, :action, :subject, :step, :reason, :outcome);

-- name: audit
-- A page of a tenant's audit, newest first.
SELECT id, at, saga_id, tenant, who, action, subject, step, reason, outcome
FROM amends.audit
WHERE tenant = :tenant AND id < :before::bigint
ORDER BY id DESC
LIMIT :limit::integer;

-- name: audit_of_saga
-- The same for one saga.
SELECT id, at, saga_id, tenant, who, action, subject, step, reason, outcome
FROM amends.audit
WHERE saga_id = :saga_id::uuid AND tenant = :tenant AND id < :before::bigint
ORDER BY id DESC
LIMIT :limit::integer;
