#!/bin/sh
# Runs once, when the database server's data folder is made: the databases and logins that the platform expects. psql
# reads the passwords itself, so that no command line holds them. CREATEDB is for drills of backups alone.
set -eu
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\set owner `cat /run/secrets/owner_password`
\set worker `cat /run/secrets/worker_password`
\set api `cat /run/secrets/api_password`
\set registry `sed -n 's/^apicurio.datasource.password=//p' /run/secrets/registry.properties`
CREATE ROLE soma_owner LOGIN CREATEROLE CREATEDB PASSWORD :'owner';
CREATE ROLE soma_worker LOGIN PASSWORD :'worker';
CREATE ROLE soma_api LOGIN PASSWORD :'api';
CREATE ROLE registry LOGIN PASSWORD :'registry';
CREATE DATABASE soma OWNER soma_owner;
CREATE DATABASE registry OWNER registry;
REVOKE CONNECT ON DATABASE soma, registry FROM PUBLIC;
GRANT CONNECT ON DATABASE soma TO soma_worker, soma_api;
SQL
