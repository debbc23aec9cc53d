"""What is said of dead letters that cannot be sent again: which record each is, what is wrong, and what to do."""

from flowgauge.console.retrying import BY_HAND_MAX, Letter, by_hand, letter_in, reasons_against

NOW_MS = 1_795_000_000_000


def letter(name: str, value: bytes, source: str = "") -> Letter:
    return Letter(name=name, time="T", reason="not JSON", source=source, value=value, size=len(value), is_stored=False)


def test_a_letter_that_is_still_no_event_says_what_is_expected_and_which_record_it_is() -> None:
    letters = [
        letter("0@3", b'{"event":"x"}', source="1@12"),
        letter("2@4", b"not json"),
        letter("2@5", b"not json"),
    ]

    reasons = reasons_against(letters, again=False, now_ms=NOW_MS)

    assert reasons["0@3"].startswith("still bad: wrong field: `id` is missing: expected a UUID")
    mend = "flowgauge dlq show {} > event.json, edit it, flowgauge publish event.json"
    assert list(by_hand(letters, reasons, tenant="")) == [
        f"flowgauge.dlq-0@3, of flowgauge.events-1@12: {reasons['0@3']}: {mend.format('0@3')}",
        f"flowgauge.dlq-2@4: {reasons['2@4']}: {mend.format('2@4')}",
    ]


def test_what_is_to_be_done_names_the_tenant_that_was_asked_for() -> None:
    letters = [letter("0@3", b"{")]

    (line,) = by_hand(letters, reasons_against(letters, again=False, now_ms=NOW_MS), tenant="of acme")

    assert "flowgauge dlq show 0@3 --tenant 'of acme' > event.json" in line


def test_many_letters_are_told_of_by_the_first_and_how_many_more_there_are() -> None:
    letters = [letter(f"0@{n}", b"{" * (n + 1)) for n in range(BY_HAND_MAX + 2)]

    *lines, rest = by_hand(letters, reasons_against(letters, again=False, now_ms=NOW_MS), tenant="")

    assert len(lines) == BY_HAND_MAX
    assert rest == "2 more letters are still bad: each is mended so"


def test_a_row_of_the_answer_is_a_letter_with_where_it_came_from() -> None:
    row: dict[str, object] = {
        "letter": "0@1", "time": "T", "reason": "r", "origin": "sink", "source": "0@12", "size": 2, "detail": "",
        "is_stored": True, "value": "e30=",
    }  # fmt: skip

    assert letter_in(row) == Letter(
        name="0@1", time="T", reason="r", source="0@12", value=b"{}", size=2, is_stored=True
    )
