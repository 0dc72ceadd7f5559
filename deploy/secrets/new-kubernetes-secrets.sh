#!/bin/sh
# Prints the Secrets that deploy/helm/somafractalmemory/values-production.yaml names, with new values. Pipe it into
# `sops encrypt`, so that they are nowhere in the clear: docs/guides/secrets.md. Nothing else of a cluster is in it:
# PostgreSQL, the brokers, the registry and Qdrant have to be told the same passwords.
set -eu

# secret NAME KEY VALUE: each line of the value is indented as a block of YAML.
secret() {
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData:\n  %s: |-\n' "$1" "$2"
  printf '%s\n' "$3" | sed 's/^/    /'
}

for process in api worker-postgres worker-vectors worker-retention lag operator; do
  secret "soma-kafka-$process" password "$(openssl rand -hex 24)"
done
for login in api worker owner; do
  secret "soma-postgres-$login" password "$(openssl rand -hex 24)"
done
secret soma-rate-limits url "valkeys://:$(openssl rand -hex 24)@valkey.valkey.svc:6379/0"
secret soma-registry password "$(openssl rand -hex 24)"
secret soma-qdrant api-key "$(openssl rand -hex 24)"
secret soma-cursors secret "$(openssl rand -hex 24)"
secret soma-master-key master.key "$(openssl rand -base64 32)"
secret soma-backup-key backup.key "$(openssl rand -base64 32)"
secret soma-erasure-key signing.pem "$(openssl genpkey -algorithm ed25519)"
# Comes from `soma keys create --role operator`, once the platform runs: docs/guides/kubernetes.md.
secret soma-metrics api-key "none-yet"
