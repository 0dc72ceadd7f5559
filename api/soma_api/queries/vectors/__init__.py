"""Queries of the vector index: nearest points, matching words, and both together."""
