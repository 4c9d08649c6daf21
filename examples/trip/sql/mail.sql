-- Mail: what the mail server outside would know. It drops a message whose Message-ID it has seen,
-- and it greylists: the first mail to anybody at `greylist.example` is to be tried again.

CREATE SCHEMA IF NOT EXISTS mail;

CREATE TABLE IF NOT EXISTS mail.sent (
    message_id text PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    recipient  text NOT NULL,
    text       text NOT NULL
);

CREATE TABLE IF NOT EXISTS mail.greylisted (
    recipient text PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
