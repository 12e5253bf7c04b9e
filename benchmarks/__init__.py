"""Measurements that compare side by side in one run. Never part of the test suite."""
