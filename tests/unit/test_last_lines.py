"""The last lines that a command printed."""

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.producers.last_lines import LINE_BYTES_MAX, LINES_MAX, TOTAL_BYTES_MAX, LastLines

PIECES = st.lists(
    st.one_of(st.binary(max_size=20), st.integers(1, 400).map(lambda n: b"x\n" * n), st.just(b"y" * 9_000))
)


def texts(lines: LastLines) -> list[str]:
    return [line.text for line in lines]


def split(printed: bytes) -> list[bytes]:
    """Return the lines of what was printed; a last one that has not ended is one too."""
    *whole, rest = printed.split(b"\n")
    return [*whole, rest] if rest else whole


@given(PIECES)
def test_however_it_comes_the_last_lines_are_kept_cut_and_all_are_counted(pieces: list[bytes]) -> None:
    lines = LastLines()
    for piece in pieces:
        lines.feed("stdout", piece, 1)
    lines.end(2)

    expected = split(b"".join(pieces))
    kept = [line[:LINE_BYTES_MAX].rstrip(b"\r").decode(errors="replace") for line in expected[-LINES_MAX:]]
    found = texts(lines)
    assert lines.seen == len(expected)
    assert found == kept[len(kept) - len(found) :]
    assert len(found) == len(kept) or sum(map(len, kept)) > TOTAL_BYTES_MAX - LINE_BYTES_MAX


def test_streams_do_not_cut_into_each_others_lines() -> None:
    lines = LastLines()
    lines.feed("stdout", b"one ", 1)
    lines.feed("stderr", b"two\n", 2)
    lines.feed("stdout", b"three\r\nfour", 3)
    lines.end(4)

    assert [tuple(line) for line in lines] == [(2, "stderr", "two"), (3, "stdout", "one three"), (4, "stdout", "four")]


def test_bytes_that_are_no_utf_8_are_told_as_far_as_they_can_be() -> None:
    lines = LastLines()
    lines.feed("stdout", b"caf\xe9 \x00\n", 1)

    assert texts(lines) == ["caf� \x00"]


def test_no_more_than_the_bound_is_kept() -> None:
    lines = LastLines()
    for number in range(LINES_MAX):
        lines.feed("stdout", b"%4d" % number + b"x" * LINE_BYTES_MAX + b"\n", number)

    kept = texts(lines)
    assert kept[-1].startswith(f"{LINES_MAX - 1:4d}")
    assert sum(map(len, kept)) <= TOTAL_BYTES_MAX < sum(map(len, kept)) + LINE_BYTES_MAX
