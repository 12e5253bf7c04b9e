"""Passwords, signing keys, keyed hashes and rate limits: what features share, without knowing accounts."""
