"""A judge of the rendered chart: shares no code with it, and knows the processes by their own settings."""
