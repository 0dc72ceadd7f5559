"""Queries of the stores: SQL and vectors, no HTTP."""
