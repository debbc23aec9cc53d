"""The conditions of a query on messages: what a text search asks for, and errors alone. Pure.

A query says where they stand by the comments `-- messages with {text:String}` and `-- of {levels:Array(String)}`.
"""

from collections.abc import Collection
from typing import Final

from flowgauge.sinks.clickhouse.text_search import TextSearch

MARK: Final = "-- messages with {text:String}"
LEVELS_MARK: Final = "-- of {levels:Array(String)}"
_ERRORS: Final = frozenset({"ERROR", "CRITICAL", "FATAL"})  # the lines that are in `failures` too (schema/0065)
# Errors are few, and lie anywhere: their hours and runs, which `failures` knows, are looked up by the key. With the
# tenant, with which the key begins: without it, all tenants' rows of those hours would be read.
_OF_FAILURES: Final = """AND (tenant, toStartOfHour(occurred), run) IN (
SELECT tenant, toStartOfHour(occurred), run
FROM flowgauge.failures
WHERE tenant = {tenant:String}
AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
AND ({run:String} = '' OR run = {run:String})
AND ({flow:String} = '' OR has([{flow:String}, ''], flow))
)
AND has({levels:Array(String)}, level)"""
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


def with_levels(sql: str, levels: Collection[str]) -> str:
    """Return `sql` with the condition on levels: none where any is asked for."""
    if are_errors(levels):
        return sql.replace(LEVELS_MARK, _OF_FAILURES)
    return sql.replace(LEVELS_MARK, "AND has({levels:Array(String)}, level)" if levels else "")


def are_errors(levels: Collection[str]) -> bool:
    """Tell whether lines of these levels alone are in `failures`, all of them."""
    return bool(levels) and _ERRORS.issuperset(levels)


def bound(search: TextSearch | None) -> dict[str, object]:
    """Return the parameters of the condition; letters and digits are no wildcards of LIKE."""
    if search is None:
        return {}
    parts = {f"part_{n}": f"%{part}%" for n, part in enumerate(search.parts)}
    return {**parts, "words": list(search.words), "pattern": search.pattern}
