"""A table as text: what commands print for people. Pure."""

from collections.abc import Container, Sequence

CENT = 0.01  # of what is less, all that is kept is shown
CELL_CHARS_MAX = 120  # a log line may be long; the JSON form has all of it


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, money: Container[str] = ()) -> str:
    """Return the rows under their columns, numbers to the right, with a line that says when there are none.

    Columns that `money` names have cents.
    """
    if not rows:
        return "nothing found"
    cells = [
        [_money(value) if column in money else _text(value) for column, value in zip(columns, row, strict=True)]
        for row in rows
    ]
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
    is_number = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    lines = [_line(columns, widths, is_number), _line(["-" * width for width in widths], widths, is_number)]
    lines += [_line(row, widths, is_number) for row in cells]
    return "\n".join(lines)


def printable(text: str, *, keep: str = "") -> str:
    """Make text that others wrote fit for a terminal: what is no visible character, and not in `keep`, is a space.

    Escape sequences, line breaks that would forge a line of ours, and marks that turn the direction of writing go.
    """
    return "".join(char if char.isprintable() or char in keep else " " for char in text)


def _line(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, is_number, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _text(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}" if abs(value) < 1_000 else f"{value:.0f}"
        case dict():
            return _cell(" ".join(f"{key}={inner}" for key, inner in value.items()))  # pyright: ignore[reportUnknownVariableType]  # any JSON
        case _:
            return _cell(str(value))


def _money(value: object) -> str:
    if not isinstance(value, int | float):
        return _text(value)
    return f"{value:.6f}" if 0 < value < CENT else f"{value:.2f}"


def _cell(text: str) -> str:
    text = printable(text)
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"
