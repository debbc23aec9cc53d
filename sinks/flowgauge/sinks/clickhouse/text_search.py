"""The text search: what of a message a text is found in, the same for the engine, its index and whoever marks it. Pure.

    refused             the word "refused": "connection refused", "REFUSED:", not "unrefused"
    "disk full on /a"   these words in a row, with what stands between them: no spaces are added or left out
    *Timeout            any word that ends so: ReadTimeout
    orders*             any word that begins so; *data* is data anywhere
    [error]             what is no letter or digit is found as it stands, within words too

A word is letters and digits; all of ASCII that is neither parts words, and so do the spaces, punctuation and symbols of
SEPARATORS. Other characters, also marks that combine with letters, belong to words. A letter is found as its capital or
small letter, where one stands for the other alone: ß is not SS.
The index holds the words of messages in small letters (schema/0055): whole words are looked up in it, and of a word
that goes on all that hold its part. All candidates are compared with the pattern, so what is found is exact.
"""

import re
from dataclasses import dataclass
from itertools import groupby

# As in schema/0055. The same in Python and in RE2, and of no version of Unicode.
SEPARATORS = (
    "\x80-\xbf\xd7\xf7\u2000-\u2bff\u2e00-\u2e7f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufffd"
    "\U0001f000-\U0001faff"
)
OPEN = "*"  # at either end of a text: the word goes on there
WORDS_MAX = 60  # of one look-up: the engine takes 64
PART_CHARS_MIN = 4  # of ASCII: the index is not asked for a shorter part of a word
_PARTING = rf"\x00-/:-@\[-`{{-\x7f{SEPARATORS}"
_PARTS_WORDS = re.compile(f"[{_PARTING}]")
_UNSURE = frozenset("σΣ")  # at the end of a word the small letter is another: the index has what nobody asks for


@dataclass(frozen=True, slots=True)
class TextSearch:
    """What a text asks for.

    `pattern` is RE2's and matches the messages that hold the text; `words` are whole in each of these, `parts` in words
    of each, all in small letters.
    """

    pattern: str
    words: tuple[str, ...]
    parts: tuple[str, ...]
    marks: str  # Python's, and matches the text alone


def text_search(text: str) -> TextSearch | None:
    """Return what `text` asks for, None where it is empty or has nothing but open ends."""
    start, end = text.startswith(OPEN), len(text) > 1 and text.endswith(OPEN)
    sought = text[start : len(text) - end]
    if not sought:
        return None
    start, end = start or _parts_words(sought[0]), end or _parts_words(sought[-1])
    core = "".join(map(_either_case, sought))
    pieces = ["".join(piece) for is_border, piece in groupby(sought, _parts_words) if not is_border]
    first, last = not _parts_words(sought[0]) and start, not _parts_words(sought[-1]) and end
    whole, parts = pieces[first : len(pieces) - last], [*pieces[: int(first)], *pieces[len(pieces) - last :]]
    return TextSearch(
        pattern=("" if start else f"(?:^|[{_PARTING}])") + core + ("" if end else f"(?:$|[{_PARTING}])"),
        words=tuple(dict.fromkeys(map(_small, filter(_is_indexed, whole))))[:WORDS_MAX],
        parts=tuple(dict.fromkeys(part for part in map(_ascii_part, parts) if len(part) >= PART_CHARS_MIN)),
        marks=("" if start else f"(?<![^{_PARTING}])") + core + ("" if end else f"(?![^{_PARTING}])"),
    )


def spans(search: TextSearch, message: str) -> list[tuple[int, int]]:
    """Return where in `message` the text stands: half-open ranges of characters, in order, none over another."""
    return [found.span() for found in re.finditer(search.marks, message)]


def _parts_words(char: str) -> bool:
    return _PARTS_WORDS.match(char) is not None


def _either_case(char: str) -> str:
    if char.isascii() and not char.isalnum():
        return f"\\x{ord(char):02x}"
    other = _other_case(char)
    return f"[{char}{other}]" if other else char


def _other_case(char: str) -> str:
    """Return the capital of a small letter and the small letter of a capital, nothing where that is not one letter."""
    if _parts_words(char):
        return ""
    small, capital = char.lower(), char.upper()
    other = small if small != char and small.upper() == char else capital if capital.lower() == char else ""
    return other if len(other) == 1 and other != char and not _parts_words(other) else ""


def _small(word: str) -> str:
    return "".join(_other_case(char) if char.lower() != char else char for char in word)


def _ascii_part(part: str) -> str:
    """Return the longest piece that the engine looks for in its dictionary: one of ASCII."""
    return max(re.findall(r"[a-z0-9]+", part.lower()), key=len, default="") if _is_indexed(part) else ""


def _is_indexed(word: str) -> bool:
    return not _UNSURE.intersection(word) and all(char.lower() == char or _other_case(char) for char in word)
