"""Features that plug in from outside of the core: each package here is complete, and meant to be read and copied."""
