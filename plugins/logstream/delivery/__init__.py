"""Delivery: planning a window, sending its lanes, keeping the ledger."""
