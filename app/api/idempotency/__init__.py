"""Idempotency-Key: the response to the first request with a key is stored and returned to repeated requests."""
