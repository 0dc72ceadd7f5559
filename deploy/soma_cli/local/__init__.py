"""The local stack: the real parts of production, smaller, on loopback."""
