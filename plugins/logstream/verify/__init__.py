"""Verification: the log store against ledger, manifests and objects."""
