"""What `soma dlq` is made of, beside its command line."""
