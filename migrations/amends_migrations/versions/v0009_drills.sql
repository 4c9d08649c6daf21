-- The record of drills: what was tried, when, and what was said of it.
--
-- A *run* drills one definition; it is `running` until it says that it is over. One that was
-- interrupted stays so, and is gone on with by the next run of the same definition, input and
-- participants (`digest` is over these). A *cell* is one fault at one step of a run, with all that
-- was found as JSON. `proven` names the steps whose undo was seen to succeed in a cell that passed:
-- "last proven" is the newest cell that names it.

CREATE TABLE amends.drill_run (
    id         uuid PRIMARY KEY,
    definition text NOT NULL,
    version    integer NOT NULL,
    digest     text NOT NULL,
    against    text NOT NULL,
    status     text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'over')),
    cells      integer NOT NULL DEFAULT 0 CHECK (cells >= 0),
    held       json,
    began_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz,
    CHECK ((status = 'over') = (ended_at IS NOT NULL))
);
CREATE INDEX drill_run_newest ON amends.drill_run (definition, began_at DESC);

CREATE TABLE amends.drill_cell (
    run_id  uuid NOT NULL REFERENCES amends.drill_run ON DELETE CASCADE,
    step    text NOT NULL,
    fault   text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
    at      timestamptz NOT NULL,
    proven  text[] NOT NULL,
    result  json NOT NULL,
    PRIMARY KEY (run_id, step, fault)
);
