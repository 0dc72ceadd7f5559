"""Questions to the vector index: what is nearest, which words match, and both together."""
