"""Tests for features: a pytest plug-in with fixtures, and conformance tests that run a feature's examples."""
