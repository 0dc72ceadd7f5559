"""The composition root: the `soma` command and the local stack."""
