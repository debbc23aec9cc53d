"""The log: its port, its SQLite adapter, and the one place that reads the wall clock."""
