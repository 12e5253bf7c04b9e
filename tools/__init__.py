"""What the Makefile runs; nothing here is imported by the service."""
