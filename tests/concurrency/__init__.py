"""Races between requests, on a real server with several threads or processes."""
