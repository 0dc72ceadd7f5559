"""Questions to the stores: SQL and vectors, no HTTP."""
