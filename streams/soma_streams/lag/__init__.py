"""How far consumer groups are behind, as the brokers tell it and as an operator needs it."""
