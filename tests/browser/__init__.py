"""Tests of the example app in a real browser, against the real API on another origin."""
