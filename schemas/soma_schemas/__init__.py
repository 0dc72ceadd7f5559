"""The contracts that the write side, the read side and every producer share."""
