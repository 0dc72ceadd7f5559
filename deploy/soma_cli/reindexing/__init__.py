"""What `soma reindex` does: an index built beside the one in use, compared with it, and put in its place."""
