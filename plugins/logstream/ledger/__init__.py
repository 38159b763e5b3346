"""The ledger: what was planned, how far each lane has come, what was delivered, rejected or is owed."""
