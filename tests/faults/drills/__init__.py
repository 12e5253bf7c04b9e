"""Fault drills: cause faults while clients write, and compare the acknowledged writes with the database.

`python -m tests.faults.drills` runs them and prints their figures; docs/reliability.md contains those of a long run.
"""
