"""What `soma doctor` looks at, and what `soma support-bundle` packs."""
