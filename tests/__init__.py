"""The tests. They run on SQLite and on PostgreSQL; see conftest.py for the standing cast."""
