"""The read side: an HTTP API that answers from the stores and writes only by publishing."""
