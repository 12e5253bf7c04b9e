"""The conformance tests. `pytest --feature NAME` runs them on the examples of a feature, on both databases."""
