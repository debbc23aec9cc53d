"""Silences as people write them: read, written back, and refused with the place and a remedy."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.control import Matcher, Recurrence
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.silence_form import (
    SilenceAsked,
    check_id,
    format_every,
    format_matcher,
    parse_every,
    parse_matcher,
    silence_of,
)
from flowgauge.schemas.times import parse_time_ms

NOW_MS = parse_time_ms("2026-11-30T12:00:00Z")
ASKED = SilenceAsked(matchers=['flow="orders"'], lasts="2h", reason="the database moves")


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ('flow=~"orders-.*"', Matcher("flow", "=~", "orders-.*")),
        ("flow=orders", Matcher("flow", "=", "orders")),
        (" severity != page ", Matcher("severity", "!=", "page")),
        ('team!~"a|b"', Matcher("team", "!~", "a|b")),
        ('team=""', Matcher("team", "=", "")),
        ('flow="a*"', Matcher("flow", "=", "a*")),
        ("team=", Matcher("team", "=", "")),
        (r'flow=~"v\d\.\d"', Matcher("flow", "=~", r"v\d\.\d")),
        (r'flow="say \"a\\b\""', Matcher("flow", "=", r'say "a\b"')),
        ("related.worker.id=a=b", Matcher("related.worker.id", "=", "a=b")),
    ],
)
def test_a_matcher_is_read(text: str, matcher: Matcher) -> None:
    assert parse_matcher(text) == matcher


@given(
    st.builds(
        Matcher,
        st.text(st.characters(codec="utf-8", exclude_characters="=!~\"'", exclude_categories=["Z", "C"]), min_size=1),
        st.sampled_from(["=", "!="]),
        st.text(st.characters(codec="utf-8")),
    )
)
def test_a_matcher_that_is_written_is_read_back(matcher: Matcher) -> None:
    assert parse_matcher(format_matcher(matcher)) == matcher


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("orders", "expected a field, one of = != =~ !~ and a value, as in flow=~\"orders-.*\", got 'orders'"),
        ("=orders", "expected a field"),
        ("flow==orders", "there is no operator ==: write one of = != =~ !~"),
        ("flow=~~x", "there is no operator =~~"),
        ("flow='orders'", "a value stands in double quotes or in none"),
        ('flow="orders', "the quotes of the value do not fit"),
        ('flow="a"b"', "the quotes of the value do not fit"),
        ("flow=orders-*", "= compares with the text 'orders-*' itself: write flow=~\"orders-.*\" for a pattern"),
        ("flow=~orders(", "'orders(' is no pattern: unclosed group"),
        ("flow=" + "x" * 1_025, "a value has at most 1024 characters, got 1025"),
        ("f" * 201 + "=x", "a field has at most 200 characters, got 201"),
    ],
)
def test_what_is_no_matcher_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_matcher(text)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "days", "minutes", "written"),
    [
        ("Sat,Sun 22:00-02:00", [5, 6], (1_320, 120), "Sat,Sun 22:00-02:00"),
        ("mon-fri 6:00-07:30", [0, 1, 2, 3, 4], (360, 450), "Mon,Tue,Wed,Thu,Fri 06:00-07:30"),
        ("Sat-Mon, wednesday 00:00-24:00", [0, 2, 5, 6], (0, 0), "Mon,Wed,Sat,Sun 00:00-00:00"),
        ("daily 02:00 - 03:00", [0, 1, 2, 3, 4, 5, 6], (120, 180), "daily 02:00-03:00"),
    ],
)
def test_hours_are_read_and_written_back(text: str, days: list[int], minutes: tuple[int, int], written: str) -> None:
    hours = Recurrence(days=days, from_minute=minutes[0], to_minute=minutes[1], timezone="Europe/Berlin")

    assert parse_every(text, "Europe/Berlin") == hours
    assert format_every(hours) == written
    assert parse_every(written, "Europe/Berlin") == hours


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matchers": ["flow=a", "flow"]}, "matchers[1]: expected a field"),
        ({"matchers": []}, "matchers: there is none, so it would hide everything: write one such as flow=~"),
        ({"matchers": ["flow=~.*", "team!=a"]}, "matchers: each of them holds for an empty value"),
        ({"matchers": ["flow=a"] * 17}, "matchers: at most 16, got 17"),
        ({"matchers": ["flow=~a"] * 5}, "matchers: at most 4 with a pattern, got 5"),
        ({"lasts": ""}, "ends: expected when it ends or how long it lasts (lasts, such as 2h), got neither"),
        ({"ends": "2026-12-01T00:00:00Z"}, "got both"),
        ({"lasts": "2 hours"}, "lasts: expected a duration such as 30s, 10m, 1h30m or 7d, got '2 hours': did you"),
        ({"lasts": "0s"}, "ends: 2026-11-30T12:00:00.000Z is not after it starts"),
        ({"lasts": "", "ends": "tomorrow"}, "ends: expected an RFC 3339 time with a zone"),
        ({"lasts": "", "ends": "999999999999999"}, "ends: a silence starts within and lasts at most 52w2d"),
        ({"starts": "2026-11-30T09:00:00Z"}, "ends: 2026-11-30T11:00:00.000Z is over already: write a later time"),
        ({"starts": "2028-01-01T00:00:00Z"}, "ends: a silence starts within and lasts at most 52w2d"),
        ({"lasts": "53w"}, "ends: a silence starts within and lasts at most 52w2d: for longer, change the"),
        ({"reason": " "}, "reason: say why nobody is to be told"),
        ({"reason": "x" * 2_001}, "reason: at most 2000 characters, got 2001"),
        ({"timezone": "UTC"}, "timezone: only hours that come again (every) need one"),
        ({"every": "daily 02:00-03:00"}, "timezone: say by the clock of which place"),
        ({"every": "daily 02:00-03:00", "timezone": "Europe/Berln"}, "did you mean Europe/Berlin?"),
        ({"every": "daily", "timezone": "UTC"}, "every: expected days and hours, as in 'Sat,Sun 22:00-02:00'"),
        ({"every": "Saturn 02:00-03:00", "timezone": "UTC"}, "every: 'Saturn' is no day: did you mean Saturday?"),
        ({"every": "Sat 02:00-25:00", "timezone": "UTC"}, "every: 25:00 is no time of the day"),
        ({"every": "Sat 24:00-02:00", "timezone": "UTC"}, "every: 24:00 is no time of the day"),
        ({"every": "Sat 02:00-03:00", "timezone": "UTC"}, "every: no window of 'Sat 02:00-03:00' lies before it ends"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_silence_is_refused_with_the_field_and_a_remedy(change: dict[str, object], said: str) -> None:
    asked = msgspec.structs.replace(ASKED, **change)

    with pytest.raises(BadInput) as caught:
        silence_of(asked, silence_id="s", now_ms=NOW_MS)

    assert said in str(caught.value)


def test_everything_can_be_hidden_where_that_is_said() -> None:
    silence = silence_of(msgspec.structs.replace(ASKED, matchers=[], everything=True), silence_id="s", now_ms=NOW_MS)

    assert (silence.matchers, silence.starts_ms, silence.ends_ms) == ([], NOW_MS, NOW_MS + 7_200_000)


@pytest.mark.parametrize("text", ["", "a b", "ä", "x" * 65, "a\n"])
def test_an_id_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="id: expected at most 64 letters"):
        check_id(text)
