#!/bin/sh
# Runs once, when the database server's data folder is made: the databases and logins that the platform expects.
set -eu
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set=owner="$POSTGRES_PASSWORD" --set=worker="$SOMA_WORKER_PASSWORD" \
    --set=api="$SOMA_API_PASSWORD" --set=registry="$REGISTRY_PASSWORD" <<'SQL'
CREATE ROLE soma_owner LOGIN CREATEROLE PASSWORD :'owner';
CREATE ROLE soma_worker LOGIN PASSWORD :'worker';
CREATE ROLE soma_api LOGIN PASSWORD :'api';
CREATE ROLE registry LOGIN PASSWORD :'registry';
CREATE DATABASE soma OWNER soma_owner;
CREATE DATABASE registry OWNER registry;
REVOKE CONNECT ON DATABASE soma, registry FROM PUBLIC;
GRANT CONNECT ON DATABASE soma TO soma_worker, soma_api;
SQL
