"""Runs Schemathesis against a server: it generates requests from the OpenAPI document and checks the responses."""
