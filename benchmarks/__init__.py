"""What the platform costs, measured beside what else could do the same."""
