"""From raw records of the log to settled events: decode, fold, write, settle."""
