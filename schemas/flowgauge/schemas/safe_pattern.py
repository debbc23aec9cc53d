"""Patterns that people write about names, matched as a whole in time that grows with the text alone. Pure.

Python's `re` can take for ever (`(a+)+b`), and who may write a pattern here may not stop a notifier. So patterns are
those of Rust's regex, which pydantic brings: the syntax of RE2, without look-around and back-references.
"""

from collections.abc import Callable

from pydantic_core import SchemaError, SchemaValidator, core_schema

PATTERN_CHARS_MAX = 200
COPIES_THAT_FIT = 50  # within the 10 MB that the library compiles: one pattern takes at most some 200 kB


def full_match(pattern: str) -> Callable[[str], bool]:
    """Return the test whether a text matches `pattern` from its beginning to its end.

    Raises ValueError where it is no pattern.
    """
    _compiled(pattern)  # by itself: `a)|(b` is none, though brackets around it would make it one
    return _compiled(rf"\A(?s:{pattern})\z").isinstance_python


def check_pattern(pattern: str) -> None:
    """Raise ValueError with what to write instead where `pattern` is none, or takes more than a pattern may."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise ValueError(f"a pattern has at most {PATTERN_CHARS_MAX} characters, this one has {len(pattern)}")
    full_match(pattern)
    try:
        _compiled(f"(?:{pattern}){{{COPIES_THAT_FIT}}}")
    except ValueError:
        raise ValueError(
            rf"the pattern {pattern!r} is too large: repeat less, or write [a-z0-9_] for \w and [0-9] for \d"
        ) from None


def _compiled(pattern: str) -> SchemaValidator:
    try:
        pattern.encode()  # the library reads half a character as another
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))
    except (SchemaError, UnicodeEncodeError) as error:
        raise ValueError(f"{pattern!r} is no pattern: {_cause(str(error))}") from None


def _cause(said: str) -> str:
    """Return the last line of what the library says, without its own prefixes."""
    return said.strip().splitlines()[-1].removeprefix("error: ").strip()
