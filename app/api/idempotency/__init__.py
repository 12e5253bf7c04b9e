"""Idempotency-Key: the first response to a request is kept and given again to retries."""
