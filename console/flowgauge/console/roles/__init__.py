"""What each role runs: one file a role, imported by its own command."""
