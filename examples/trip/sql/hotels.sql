-- Hotels: one row per room. Venice has a carnival: it has seats to get there and no room to stay.

CREATE SCHEMA IF NOT EXISTS hotels;

CREATE TABLE IF NOT EXISTS hotels.room (
    number    text PRIMARY KEY,
    city      text NOT NULL,
    usd_night integer NOT NULL CHECK (usd_night > 0),
    held_by   text,
    nights    integer CHECK (nights > 0),
    CHECK ((held_by IS NULL) = (nights IS NULL))
);
CREATE INDEX IF NOT EXISTS room_free ON hotels.room (city, number) WHERE held_by IS NULL;
CREATE INDEX IF NOT EXISTS room_held ON hotels.room (held_by) WHERE held_by IS NOT NULL;

CREATE TABLE IF NOT EXISTS hotels.movement (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    key  text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('book', 'cancel')),
    room text NOT NULL REFERENCES hotels.room
);

INSERT INTO hotels.room (number, city, usd_night)
SELECT format('%s %s', hotel, 100 + n), city, usd_night
FROM (VALUES ('Alfama', 'Lisbon', 95, 2000),
             ('Fjord',  'Oslo',  140,  40),
             ('Geysir', 'Reykjavik', 160, 40)) AS house (hotel, city, usd_night, rooms),
     generate_series(1, rooms) AS n
ON CONFLICT DO NOTHING;
