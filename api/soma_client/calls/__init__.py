"""Each call of the API, described once: a function per operation, named as the OpenAPI document names it."""
