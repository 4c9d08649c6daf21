-- Signals kept for sagas that are not there yet, addressed by definition and key.
--
-- Who sends one commits it here and then looks for the saga; who starts a saga commits it and then
-- looks here: one of the two sees the other. A signal that its saga has recorded (or refused) is
-- deleted; what no saga came for goes after seven days, with a row in the audit. Signals for a saga
-- that is there never come here: they stand in its journal.
CREATE TABLE amends.signal (
    tenant      text        NOT NULL,
    definition  text        NOT NULL,
    key         text        NOT NULL,  -- of the saga's start
    id          text        NOT NULL,  -- the sender's: the same again is the same signal
    event       text        NOT NULL,
    who         text        NOT NULL,
    digest      text        NOT NULL,  -- of event and data
    data        json        NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, definition, key, id),
    CONSTRAINT signal_key_length CHECK (octet_length(key) BETWEEN 1 AND 1024),
    CONSTRAINT signal_id_length CHECK (octet_length(id) BETWEEN 1 AND 1024)
);
CREATE INDEX signal_at ON amends.signal (at);
