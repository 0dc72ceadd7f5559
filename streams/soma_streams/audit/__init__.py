"""Compares log, PostgreSQL and vector index, and mends what differs."""
