-- What a running orchestrator thinks of a participant that does not answer: a hint for people.
-- Each orchestrator judges by what it sees itself; a circuit that is closed has no row.
CREATE TABLE amends.circuit (
    service       text             NOT NULL,
    orchestrator  uuid             NOT NULL,
    state         text             NOT NULL,
    bad           integer          NOT NULL,  -- timeouts, unknown outcomes, returned commands
    looked_at     integer          NOT NULL,  -- among so many outcomes
    pause_s       double precision NOT NULL,  -- until the next attempt
    at            timestamptz      NOT NULL,
    PRIMARY KEY (service, orchestrator),
    CONSTRAINT circuit_state CHECK (state IN ('open', 'half_open'))
);
