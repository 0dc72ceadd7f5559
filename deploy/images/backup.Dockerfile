# The image of the chart's jobs that make and try backups: that of the platform, with `pg_dump` and `pg_restore` of the server's
# own major version, from the archive of PostgreSQL's project. It takes nothing from a build context.
ARG SOMA_IMAGE=somafractalmemory:local
FROM ${SOMA_IMAGE}
LABEL org.opencontainers.image.title="SomaFractalMemory, for backups" \
      org.opencontainers.image.description="The platform's programs beside PostgreSQL's own that write and read dumps" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG POSTGRES_MAJOR=17
USER 0
# The archive keeps the newest minor version alone, which is the one to have.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
 && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
 && apt-get install --yes --no-install-recommends "postgresql-client-${POSTGRES_MAJOR}" \
 && rm -rf /var/lib/apt/lists/*
USER 10001
