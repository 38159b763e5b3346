"""A simulated world that hunts for faults: the real engine under one seed's weather, judged by an independent model.

`script` decides what happens, from one seed; `world` lets it happen to the real engine, ledger and settings over a real
PostgreSQL; `receivers` play all destinations; `fates` kill and suspend attempts; `model` says what must be where in the end.
docs/testing.md is the guide.
"""
