"""What people send to do something about an incident, and how it is told."""

import pytest

from flowgauge.console.web.action_switch import read_switch
from flowgauge.console.web.acts import (
    BODIES,
    EXAMPLES,
    Assign,
    Doing,
    Merge,
    Note,
    Resolve,
    Verb,
    act_of,
    act_words,
    handling_words,
    read_doing,
)
from flowgauge.schemas.control import PERSON_CHARS_MAX, TEXT_CHARS_MAX, Act
from flowgauge.schemas.controls_in_force import Handling
from flowgauge.schemas.errors import BadInput


def acted(doing: Doing) -> Act:
    return act_of(doing, tenant="acme", incident_id="0123456789abcdef", control_id="c", at_ms=7)


@pytest.mark.parametrize("verb", BODIES)
def test_a_body_is_read_from_json_and_from_a_form_alike(verb: Verb) -> None:
    fields = EXAMPLES[verb]
    text = "{" + ", ".join(f'"{name}": "{value}"' for name, value in fields.items()) + "}"

    assert read_doing(verb, text.encode(), "") == read_doing(verb, fields, "") == BODIES[verb](**fields)


def test_who_does_not_say_its_name_is_the_login_that_the_token_came_with() -> None:
    assert read_doing("ack", b"{}", " ann ").by == "ann"
    assert read_doing("ack", b'{"by": "bob"}', "ann").by == "bob"
    with pytest.raises(BadInput, match=r"^by: say who does this"):
        read_doing("ack", b'{"by": " "}', "")
    with pytest.raises(BadInput, match=r"^by: say who does this"):
        read_doing("ack", b"{}", "ann\x1b[2J")


@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("ack", b"nonsense", "the body of ack, such as"),
        ("ack", b'{"by": "ann", "at": 5}', "unknown field `at`"),
        ("ack", b'{"by": "ann\\u0007"}', "by"),
        ("ack", b'{"by": "' + b"x" * (PERSON_CHARS_MAX + 1) + b'"}', f"length <= {PERSON_CHARS_MAX}"),
        ("assign", b'{"by": "ann"}', "missing required field `to`"),
        ("note", b'{"by": "ann", "text": " "}', "^text: expected what is to be noted"),
        ("note", b'{"by": "ann", "text": "' + b"x" * (TEXT_CHARS_MAX + 1) + b'"}', f"length <= {TEXT_CHARS_MAX}"),
        ("resolve", b'{"by": "ann", "reason": 5}', "reason"),
        ("merge", b'{"by": "ann", "into": "x"}', "length >= 6"),
        ("note", b'{"by": "ann", "text": "\xff"}', "the body of note"),
    ],
)
def test_a_body_that_is_not_as_expected_is_refused_with_its_field(verb: Verb, body: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_doing(verb, body, "")


def test_what_somebody_did_is_told_in_words() -> None:
    into = "fedcba9876543210"
    told = [
        act_words(acted(doing))
        for doing in (
            read_doing("ack", {"by": "ann"}, ""),
            Assign(by="ann", to="bob"),
            Assign(by="ann", to=""),
            Note(by="ann", text="the disk is full\n"),
            Resolve(by="ann"),
            Resolve(by="ann", reason="mended"),
            Merge(by="ann", into=into),
        )
    ]

    assert told == [
        "acknowledged it",
        "assigned it to bob",
        "assigned it to nobody",
        "noted: the disk is full",
        "resolved it by hand",
        "resolved it by hand: mended",
        "merged it into fedcba987654",
    ]


def test_how_an_incident_is_handled_is_told_in_words() -> None:
    both = (acted(Assign(by="ann", to="bob")), acted(Resolve(by="eve")))

    assert handling_words(Handling(both, part_of="fedcba9876543210")) == (
        "part of fedcba987654, resolved by hand by eve, assigned to bob"
    )
    assert handling_words(Handling()) == ""


def test_a_login_that_would_write_into_a_terminal_switches_no_action() -> None:
    with pytest.raises(BadInput, match=r"^by: say who does this"):
        read_switch(b"{}", "ann\x1b[2J")

    assert read_switch(b"{}", "ann").by == "ann"
