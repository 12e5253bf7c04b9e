"""Schemathesis against a real server: requests made from the OpenAPI document, and answers held to it."""
