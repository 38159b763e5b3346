"""Proof: manifests, listings and signatures. Pure."""
