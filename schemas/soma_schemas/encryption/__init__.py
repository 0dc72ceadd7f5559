"""Encryption of events: data keys for subjects and memories, which an erasure destroys."""
