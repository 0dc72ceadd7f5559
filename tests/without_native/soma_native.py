"""Stands before the native extension on the path of `make test-reference`, as if it were not installed."""

raise ImportError("the tests hide it")
