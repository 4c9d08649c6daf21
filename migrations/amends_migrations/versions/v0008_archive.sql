-- A saga that is over may be *archived*: written to a file outside the database and deleted here,
-- with its journal and labels. Its start key stays for 30 days more, so that a start that is
-- repeated late still finds that it was accepted. NULL: the saga is here, or is the tombstone of one
-- that never was.
ALTER TABLE amends.start_key ADD COLUMN archived_at timestamptz;
CREATE INDEX start_key_archived ON amends.start_key (archived_at) WHERE archived_at IS NOT NULL;
