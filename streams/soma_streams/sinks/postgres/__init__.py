"""The Postgres sink: records, their history and their links, in one transaction with the watermark."""

from soma_streams.sinks.postgres.postgres_sink import PostgresSink

__all__ = ["PostgresSink"]
