"""The routes: HTTP, and no SQL."""
