"""Tables in Markdown, and documents that have a place for each: `<!-- table: NAME -->` … `<!-- end -->`. Pure."""

from collections.abc import Mapping, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def filled(document: str, tables: Mapping[str, str], *, called: str) -> str:
    """Return the document with `tables` between its marks; raise ValueError where one has no place in it."""
    for name, text in tables.items():
        begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        before, mark, rest = document.partition(begin)
        if not mark or end not in rest:
            raise ValueError(f"{called} has no place for the table {name}")
        document = f"{before}{mark}{text}{rest[rest.index(end) :]}"
    return document
