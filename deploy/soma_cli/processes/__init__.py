"""The composition of each long-running process."""
