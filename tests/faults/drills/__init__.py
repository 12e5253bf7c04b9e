"""Fault drills: break what Gatepost relies on while clients write, and compare what they were told with what is there.

`python -m tests.faults.drills` runs them and prints their figures; docs/reliability.md holds those of a long run.
"""
