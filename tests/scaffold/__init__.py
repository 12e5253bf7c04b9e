"""Tests of the scaffold, the wheel, and the projects that are made with them."""
