"""The demo: recorded events of a real Prefect server, rules for them, and workers that lose their database.

The two captures are those of tests/data, whose README says what happens in them.
"""
