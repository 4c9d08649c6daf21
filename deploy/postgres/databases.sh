#!/bin/sh
# A database and its owner for the orchestrator and for each service; nobody else may connect.
# Run once by the Postgres image, when its data folder is new.
set -eu

database() {
    psql --quiet --set=ON_ERROR_STOP=1 --set=name="$1" --set=password="$2" \
        --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
create role :"name" login password :'password';
create database :"name" owner :"name";
revoke connect, temporary on database :"name" from public;
SQL
}

database orchestrator "$ORCHESTRATOR_DATABASE_PASSWORD"
database flights "$FLIGHTS_DATABASE_PASSWORD"
database hotels "$HOTELS_DATABASE_PASSWORD"
database payments "$PAYMENTS_DATABASE_PASSWORD"
database mail "$MAIL_DATABASE_PASSWORD"
