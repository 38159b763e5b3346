"""A simulated world that hunts for faults: the real engine under one seed's weather, judged by an independent model.

`author` decides what happens, from one seed, and writes a `script`; `world` lets it happen to the real engine, ledger and settings
over a real PostgreSQL; `receivers` play all destinations; `fates` kill and suspend attempts; `model` says what must be where,
and `verdict` what is wrong in the end; `shrink` cuts down what went wrong. docs/testing.md is the guide.
"""
