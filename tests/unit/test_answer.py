"""What an answer says of events: one table for the publisher and the command."""

import pytest

from flowgauge.producers.answer import Answer, Verdict, classify, decode_answer, remedy_for


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.SETTLED, [200]),
        (Verdict.TOO_LARGE, [413]),
        (Verdict.REFUSED, [400, 415, 422]),
        (Verdict.MISDIRECTED, [301, 308, 401, 403, 404, 405, 410, 501]),
        (Verdict.BUSY, [100, 202, 402, 408, 429, 500, 502, 503, 599]),
    ],
)
def test_each_status_has_one_verdict(verdict: Verdict, statuses: list[int]) -> None:
    assert [classify(status) for status in statuses] == [verdict] * len(statuses)


def test_a_remedy_is_named_for_what_somebody_must_mend() -> None:
    assert remedy_for(401) == ": is the token right (FLOWGAUGE_TOKEN)?"
    assert remedy_for(302) == ": is the address right (FLOWGAUGE_URL)?"
    assert not remedy_for(503)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff", b"{}", b'{"accepted": 1}', b"[" * 100_000])
def test_what_no_gateway_wrote_is_no_answer(content: bytes) -> None:
    assert decode_answer(content) is None


def test_fields_that_a_later_gateway_adds_do_not_matter() -> None:
    assert decode_answer(b'{"accepted": 1, "rejected": 0, "more": []}') == Answer(1, 0, [])
