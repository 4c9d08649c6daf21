-- The service's cars, and one row per action key: what was decided, and the reply that was stored.
CREATE TABLE IF NOT EXISTS car (
    plate text PRIMARY KEY,
    city text NOT NULL,
    rented_by text
);
INSERT INTO car (plate, city)
SELECT 'LIS-' || lpad(n::text, 2, '0'), 'Lisbon' FROM generate_series(1, 40) n
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS step (
    key text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('new', 'failed', 'succeeded', 'undone', 'tombstone')),
    attempt integer NOT NULL, -- highest attempt that was decided
    digest text,
    reply json
);
