"""Erasure with proof: what was asked to be gone is deleted, cleared, looked for, and signed off."""
