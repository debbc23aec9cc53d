"""Controls come back as they were written, and what is none says so."""

from typing import get_args

import pytest

from flowgauge.schemas.control import (
    Acknowledged,
    ActionsSwitched,
    Assigned,
    Control,
    Matcher,
    Merged,
    Noted,
    Recurrence,
    Replayed,
    ResolvedByHand,
    Silence,
    Silenced,
    SilenceExpired,
    decode_control,
    encode_control,
)
from flowgauge.schemas.errors import Unreadable

_SILENCE = Silence(
    silence_id="s1",
    matchers=[Matcher("flow", "=~", "orders-.*")],
    starts_ms=1,
    ends_ms=2,
    reason="moving house",
    recurrence=Recurrence(days=[5, 6], from_minute=1_320, to_minute=120, timezone="Europe/Berlin"),
)
_CONTROLS: list[Control] = [
    Acknowledged(control_id="c", tenant="acme", at_ms=1, by="ann", incident_id="i"),
    Assigned(control_id="c", tenant="acme", at_ms=1, by="ann", incident_id="i", to="bob"),
    Noted(control_id="c", tenant="acme", at_ms=1, by="ann", incident_id="i", text="looked"),
    ResolvedByHand(control_id="c", tenant="acme", at_ms=1, by="ann", incident_id="i"),
    Merged(control_id="c", tenant="acme", at_ms=1, by="ann", incident_id="i", into="j"),
    Silenced(control_id="c", tenant="acme", at_ms=1, by="ann", silence=_SILENCE),
    SilenceExpired(control_id="c", tenant="acme", at_ms=1, by="ann", silence_id="s1"),
    Replayed(control_id="c", tenant="acme", at_ms=1, by="ann", channel="chat", since_ms=5),
    ActionsSwitched(control_id="c", tenant="*", at_ms=1, by="ann", are_stopped=True),
]


@pytest.mark.parametrize("control", _CONTROLS, ids=lambda control: type(control).__name__)
def test_a_control_comes_back(control: Control) -> None:
    assert decode_control(encode_control(control)) == control


@pytest.mark.parametrize("value", [b"", b"{}", b'{"act": "dance"}', b"\xff", b'{"act": "ack", "incident_id": "i"}'])
def test_what_is_no_control_is_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable, match="a control"):
        decode_control(value)


def test_every_act_has_a_test() -> None:
    assert {type(each) for each in _CONTROLS} == set(get_args(Control))
