"""Retention: which policies are in force, and the end of memories whose time has come."""
