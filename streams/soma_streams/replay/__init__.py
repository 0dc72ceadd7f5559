"""Decide about dead letters: look, read their originals, publish them again, see what became of it."""
