"""Numbers of things in sentences. Pure."""


def counted(number: int, one: str, many: str = "") -> str:
    """Return `number` with what it counts: 1 row, 2 rows; `many` where that is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
