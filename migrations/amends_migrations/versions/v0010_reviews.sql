-- Reviews: what people are asked to approve, reject or edit.
--
-- A row says what lists and pages need; it is written by the statement that writes the decision it
-- comes from, and decides nothing: the saga's state does. What is shown stands in the journal, in
-- the row `shown_seq`, and so do the decisions. A review is named by its saga and by the row that
-- asked; a row never goes before its saga does.
--
-- A *role* is held by an API key; a review may be for a person (the key's name) or for `role:<role>`.
--
-- Who is to be told of a change is told from here: `notify_at` is when, NULL where nobody is to be.
-- An orchestrator that tells moves it on first, so that a dead one only delays.
CREATE TABLE amends.review (
    saga_id       uuid        NOT NULL,
    seq           integer     NOT NULL,  -- journal row of the request
    requested_at  timestamptz NOT NULL,
    due           timestamptz,           -- when it expires
    decided_at    timestamptz,           -- when it was open no longer
    notify_at     timestamptz,
    version       integer     NOT NULL,
    shown_seq     integer     NOT NULL,  -- journal row with what is shown now
    quorum        smallint    NOT NULL,
    notify_tries  smallint    NOT NULL DEFAULT 0,
    tenant        text        NOT NULL,
    definition    text        NOT NULL,
    key           text        NOT NULL,  -- the saga's
    step          text        NOT NULL,
    command       text,                  -- what waits for it; NULL: a step of its own
    title         text        NOT NULL,
    status        text        NOT NULL,
    digest        text        NOT NULL,  -- of what is shown now
    told          text,                  -- what was told last: a status, or `open` and the digest
    assignees     text[]      NOT NULL,  -- empty: every reviewer
    approved_by   text[]      NOT NULL,
    PRIMARY KEY (saga_id, seq),
    CONSTRAINT review_status CHECK (
        status IN ('open', 'approved', 'rejected', 'expired', 'withdrawn', 'lapsed',
                   'rolled_back')),
    CONSTRAINT review_decided CHECK ((status = 'open') = (decided_at IS NULL)),
    CONSTRAINT review_numbers CHECK (seq > 0 AND shown_seq >= seq AND quorum > 0)
) WITH (fillfactor = 80);

-- Lists, longest waiting first, by keyset.
CREATE INDEX review_list ON amends.review (tenant, status, requested_at, saga_id, seq);
-- Who is to be told next.
CREATE INDEX review_notify ON amends.review (notify_at) WHERE notify_at IS NOT NULL;

ALTER TABLE amends.api_key ADD COLUMN roles text[] NOT NULL DEFAULT '{}';
