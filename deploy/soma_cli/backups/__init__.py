"""Backups of the tables: the archive, what is in it, and how it comes back."""
