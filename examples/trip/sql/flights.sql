-- Flights: one row per seat, and one row per thing that ever happened to a seat.
--
-- A seat is free or held by exactly one key. `movement` is append-only and has no unique key on
-- purpose: were a seat reserved twice for one saga, it would show here.

CREATE SCHEMA IF NOT EXISTS flights;

CREATE TABLE IF NOT EXISTS flights.seat (
    code        text PRIMARY KEY,
    destination text NOT NULL,
    usd         integer NOT NULL CHECK (usd > 0),
    held_by     text,
    traveller   text,
    CHECK ((held_by IS NULL) = (traveller IS NULL))
);
CREATE INDEX IF NOT EXISTS seat_free ON flights.seat (destination, code) WHERE held_by IS NULL;
CREATE INDEX IF NOT EXISTS seat_held ON flights.seat (held_by) WHERE held_by IS NOT NULL;

CREATE TABLE IF NOT EXISTS flights.movement (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    key  text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('reserve', 'release')),
    seat text NOT NULL REFERENCES flights.seat
);

INSERT INTO flights.seat (code, destination, usd)
SELECT format('%s-%s', prefix, lpad(n::text, 4, '0')), destination, usd
FROM (VALUES ('LIS', 'Lisbon', 210, 2000),
             ('OSL', 'Oslo',   180,   40),
             ('VCE', 'Venice', 240,   40),
             ('REK', 'Reykjavik', 420, 2)) AS flight (prefix, destination, usd, seats),
     generate_series(1, seats) AS n
ON CONFLICT DO NOTHING;
