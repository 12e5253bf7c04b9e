"""Servers that only the tests of Gatepost itself need: Redis and nginx."""
