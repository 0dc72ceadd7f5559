"""The stores behind the log: each sink writes folded events and remembers how far it came."""
