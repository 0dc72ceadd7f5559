"""The write side: stream processors that turn the event log into the stores."""
