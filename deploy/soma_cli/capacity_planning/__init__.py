"""What an installation needs for a load, computed from measured costs."""
