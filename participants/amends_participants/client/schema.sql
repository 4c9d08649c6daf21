-- Starts that wait to be sent: amends.start_in writes a row in the caller's own transaction,
-- amends.relay asks Amends and deletes it.
--
-- `message` is the start with its message id, the same at every attempt. `claimed_until` belongs to
-- the relay that works on the row, for a while; two that believe so do no harm, a start is
-- idempotent by its key. A row whose start was refused stays, with the problem in `refused`.
--
-- Idempotent: run it at every deployment, or copy it into your own migrations.

CREATE TABLE IF NOT EXISTS amends_client_outbox (
    id uuid PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT now(),
    message bytea NOT NULL,
    claimed_until timestamptz NOT NULL DEFAULT '-infinity',
    refused json
);

CREATE INDEX IF NOT EXISTS amends_client_outbox_open
    ON amends_client_outbox (written_at) WHERE refused IS NULL;
