-- Payments: an account per traveller and one row per charge, refunded or not.
--
-- A traveller pays from an account that is opened with 5,000 USD at the first charge; `broke`
-- has next to nothing. At every moment: opening balance = balance + charges not refunded.

CREATE SCHEMA IF NOT EXISTS payments;

CREATE TABLE IF NOT EXISTS payments.account (
    traveller text PRIMARY KEY,
    opening   integer NOT NULL,
    balance   integer NOT NULL CHECK (balance >= 0)
);

CREATE TABLE IF NOT EXISTS payments.charge (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    key         text NOT NULL,
    traveller   text NOT NULL REFERENCES payments.account,
    usd         integer NOT NULL CHECK (usd > 0),
    memo        text NOT NULL,
    refunds     integer NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS charge_key ON payments.charge (key);

INSERT INTO payments.account (traveller, opening, balance) VALUES ('broke', 20, 20) ON CONFLICT DO NOTHING;
