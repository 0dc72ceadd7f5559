"""The sink that keeps the vector index: embeds folded states and writes them as points."""
