"""How many examples a law draws each of which is dear: it inserts into ClickHouse and asks it."""

from hypothesis import settings


def one_in(share: int) -> int:
    """Return the profile's number of examples divided by `share`, one at least: `make soak` draws more of these too."""
    return max(1, settings().max_examples // share)
