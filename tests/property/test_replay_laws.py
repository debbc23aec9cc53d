"""Laws of the replay's reading: it takes a line for what the gateway, and `up --load`, would put into the log."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.property.test_canonical_laws import APPEND_MS, EVENTS, SEPARATORS, TIMES, UNKNOWN, twins_kept_apart

from flowgauge.console.history import Entry, entries
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.event import decode_event
from flowgauge.schemas.times import millis

RULES = parse_rules(
    "rules.yaml",
    """
rules:
  - {name: each, for_each: [flow], missing_key: share, match: {kind: "*"}, when: {event: {}}}
  - {name: often, match: {kind: "*"}, when: {event: {times: 1, within: 1s}}}
""",
)
APPENDS = st.none() | TIMES | st.integers(APPEND_MS - 10_000, APPEND_MS + 10_000)
CLOCK_ENDS_MS = APPEND_MS + 86_400_000  # after every time that is drawn
LEAST: dict[str, Any] = {"id": "0" * 32, "event": "x", "resource": {"id": "x"}}


def transition_ids(*lines: bytes) -> list[str]:
    return [each.transition_id for each in Replay(lambda: lines, RULES, until_ms=CLOCK_ENDS_MS).transitions()]


@given(EVENTS, UNKNOWN, APPENDS, SEPARATORS, st.booleans())
@example(LEAST | {"occurred": "2026-11-23T09:59:59.9999999Z"}, {}, None, (",", ":"), True)
@example(LEAST | {"occurred": "2026-11-23T09:59:59Z"}, {}, "2026-11-23T09:59:59.9999999Z", (",", ":"), True)
@example(LEAST | {"occurred": "2026-11-23T09:59:59.0000009Z"}, {}, None, (",", ":"), True)
def test_a_line_is_read_as_the_log_would_hold_it(  # noqa: PLR0917  # each is drawn
    fields: dict[str, Any], unknown: dict[str, Any], append: object, separators: tuple[str, str], ascii_only: bool
) -> None:
    written = twins_kept_apart(fields, unknown) | {"tenant": "acme"} | ({} if append is None else {"_append": append})
    line = json.dumps(written, separators=separators, ensure_ascii=ascii_only).encode()
    (loaded,) = entries([line])
    assert isinstance(loaded, Entry)

    replay = Replay(lambda: [line], RULES)
    told = [each.transition_id for each in replay.transitions()]

    assert replay.counts.clock_ms == loaded.append_ms
    assert append is not None or replay.counts.clock_ms == millis(decode_event(loaded.value).occurred)
    in_log = loaded.value[:-1] + b',"_append":%d}' % loaded.append_ms
    assert told == [each.transition_id for each in Replay(lambda: [in_log], RULES).transitions()]
    assert transition_ids(line) == transition_ids(in_log) != []
