"""How large numbers may be that a request holds: those of PostgreSQL."""

BIG = 2**63 - 1
