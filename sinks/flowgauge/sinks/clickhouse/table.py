"""The table: what a question is answered with. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns. Times are RFC 3339 strings in UTC, so that a row is JSON as it stands."""

    columns: list[str]
    rows: list[tuple[object, ...]]

    def dicts(self) -> list[dict[str, object]]:
        """Return each row as an object."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def column(self, name: str) -> Sequence[object]:
        """Return one column."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]
