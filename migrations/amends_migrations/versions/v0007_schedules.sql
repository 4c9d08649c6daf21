-- Starts by the clock.
--
-- A *schedule* starts sagas of a definition at the times that a cron expression names in a time
-- zone. `next_at` is the earliest time for which it has not been looked at. The key of a start is
-- made of the schedule's name and that time, so whoever looks, and however often, starts it once;
-- `next_at` moves on only from what was seen.
CREATE TABLE amends.schedule (
    tenant        text        NOT NULL,
    name          text        NOT NULL,
    definition    text        NOT NULL,
    version       integer,                        -- NULL: the newest at that time
    cron          text        NOT NULL,
    zone          text        NOT NULL,           -- IANA
    input         json        NOT NULL,
    labels        jsonb       NOT NULL DEFAULT '{}',
    catch_up      text        NOT NULL,           -- what of the times that were missed
    catch_up_max  integer     NOT NULL,
    added_by      text        NOT NULL,
    added_at      timestamptz NOT NULL,
    next_at       timestamptz NOT NULL,
    last_at       timestamptz,                    -- the latest time for which it started a saga
    last_saga_id  uuid,
    last_problem  text,                           -- why the latest start was refused, if it was
    PRIMARY KEY (tenant, name),
    CONSTRAINT schedule_catch_up CHECK (catch_up IN ('none', 'last', 'all')),
    CONSTRAINT schedule_catch_up_max CHECK (catch_up_max BETWEEN 1 AND 1000),
    CONSTRAINT schedule_finite CHECK (isfinite(next_at))
);
CREATE INDEX schedule_next ON amends.schedule (next_at);
