"""The commands of `soma`: each parses, calls, and shows one result."""
