"""Passwords, signing keys, keyed hashes and rate limits."""
