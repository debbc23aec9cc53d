"""The condition of a query on messages, by what a text search asks for. Pure.

A query says where it stands by the comment `-- messages with {text:String}`.
"""

from typing import Final

from flowgauge.sinks.clickhouse.text_search import TextSearch

MARK: Final = "-- messages with {text:String}"
# The expression of the index, letter by letter (schema/0055): another is not looked up.
_INDEXED: Final = (
    r"lowerUTF8(replaceRegexpAll(message, '[\\x{80}-\\x{BF}\\x{D7}\\x{F7}\\x{2000}-\\x{2BFF}\\x{2E00}-\\x{2E7F}"
    r"\\x{3000}-\\x{303F}\\x{FF00}-\\x{FF0F}\\x{FF1A}-\\x{FF20}\\x{FF3B}-\\x{FF40}\\x{FF5B}-\\x{FF65}\\x{FFFD}"
    r"\\x{1F000}-\\x{1FAFF}]', ' '))"
)


def with_messages(sql: str, search: TextSearch | None) -> str:
    """Return `sql` with the condition, none where any message is asked for; its parameters are `bound`'s."""
    if search is None:
        return sql.replace(MARK, "")
    conditions = [f"AND {_INDEXED} LIKE {{part_{n}:String}}" for n in range(len(search.parts))]
    if search.words:
        conditions.append(f"AND hasAllTokens({_INDEXED}, {{words:Array(String)}})")
    return sql.replace(MARK, " ".join([*conditions, "AND match(message, {pattern:String})"]))


def bound(search: TextSearch | None) -> dict[str, object]:
    """Return the parameters of the condition; letters and digits are no wildcards of LIKE."""
    if search is None:
        return {}
    parts = {f"part_{n}": f"%{part}%" for n, part in enumerate(search.parts)}
    return {**parts, "words": list(search.words), "pattern": search.pattern}
