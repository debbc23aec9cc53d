"""Every way to write an address ends as the list says: checked, posted to, and by `flowgauge webhooks check-address`.

FLOWGAUGE_UPDATE_GOLDEN=1 writes the tables of docs/addresses.md anew, to be read in review.
"""

import os
import socket
import ssl
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.address_forms import ALL, FORMS, Form

from flowgauge.console.main import main
from flowgauge.sinks.webhooks.addresses import EgressPolicy, Reason, closed_because
from flowgauge.sinks.webhooks.egress import AddressRefused, Egress, EgressFailed, Failure

DOCUMENT = Path(__file__).parents[2] / "docs" / "addresses.md"
BEGINNING = "## What each form becomes\n"
REFUSED = [form for form in ALL if form.reason is not Reason.PUBLIC]
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody: nothing here is connected to
UNASKED = [form for form in ALL if not form.resolves_to and form.reason is not Reason.UNRESOLVED]


def shown(text: str) -> str:
    """Write what cannot be seen as it is written in programs."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def table_of(forms: Sequence[Form]) -> str:
    rows = ""
    for form in forms:
        to = f", which is {' and '.join(form.resolves_to)}" if form.resolves_to else ""
        verdict = "allowed" if form.reason is Reason.PUBLIC else f"refused: {form.reason.value}"
        rows += f"| `{shown(form.written)}` | {form.means}{to} | {verdict} |\n"
    return f"| written | what it is | a message there is |\n|---|---|---|\n{rows}"


@pytest.mark.parametrize("form", ALL, ids=lambda form: f"{shown(form.written)[:60]} {form.means}")
async def test_each_form_of_an_address_has_its_verdict(form: Form) -> None:
    verdict = await Egress(EgressPolicy(), resolve=form.resolve, tls=TLS).check_host(form.written)

    assert (verdict.allowed, verdict.reason) == (form.reason is Reason.PUBLIC, form.reason)


@pytest.mark.parametrize("form", REFUSED, ids=lambda form: f"{shown(form.written)[:60]} {form.means}")
async def test_no_form_that_is_refused_is_posted_to(form: Form) -> None:
    egress = Egress(EgressPolicy(), resolve=form.resolve, tls=TLS)

    reason: Reason | Failure | None = None
    try:
        await egress.post(form.url, b"{}", {}, deadline_ms=10_000)
    except (AddressRefused, EgressFailed) as error:
        reason = error.reason

    assert reason is (Failure.DNS if form.reason is Reason.UNRESOLVED else form.webhook_reason)


def in_base(number: int, base: str) -> str:
    return {"8": f"0{number:o}", "10": str(number), "16": hex(number)}[base]


def spelled(address: int, bases: Sequence[str]) -> str:
    """Write an IPv4 address in as many parts as there are bases; the last part holds the rest, as in C."""
    *first, last = bases
    parts = [in_base(address >> (24 - 8 * at) & 0xFF, base) for at, base in enumerate(first)]
    return ".".join([*parts, in_base(address & (1 << (32 - 8 * len(first))) - 1, last)])


addresses = st.integers(0, 2**32 - 1) | st.sampled_from([0, 0x7F000001, 0x0A000001, 0xA9FEA9FE, 0xC0A80001])
EMBEDDINGS = [("::ffff:0:0", 0), ("::", 0), ("64:ff9b::", 0), ("64:ff9b:1::", 0), ("2002::", 80), ("2001::", 64)]


@given(addresses, st.lists(st.sampled_from(["8", "10", "16"]), min_size=1, max_size=4))
async def test_no_number_that_c_reads_as_a_closed_address_is_allowed(address: int, bases: list[str]) -> None:
    text, ip = spelled(address, bases), IPv4Address(address)
    form = Form(text, Reason.NUMERIC_HOST, "a number")
    assert socket.inet_aton(text) == ip.packed

    verdict = await Egress(EgressPolicy(), resolve=form.resolve, tls=TLS).check_host(text)

    assert not verdict.allowed or (text == str(ip) and closed_because(ip) is None)


@given(addresses, st.sampled_from(EMBEDDINGS))
def test_no_closed_address_inside_an_ipv6_address_is_allowed(address: int, embedding: tuple[str, int]) -> None:
    prefix, shift = embedding
    ip = IPv6Address(int(IPv6Address(prefix)) | address << shift)

    allowed = EgressPolicy().verdict(str(ip), 443, ip).allowed

    assert allowed == (prefix == "::ffff:0:0" and closed_because(IPv4Address(address)) is None)


def test_the_command_says_the_same_of_every_form_that_asks_for_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["webhooks", "check-address", "--", *(form.written for form in UNASKED)])

    said = capsys.readouterr().out
    lines = [
        f"{form.written} allowed\n" if form.reason is Reason.PUBLIC else f"{form.written} refused: {form.reason.value}"
        for form in UNASKED
    ]
    assert ended.value.code == 1
    for line in lines:
        assert line in said
        said = said.partition(line)[2]


def test_the_list_is_long_and_says_nothing_twice() -> None:
    assert len({(form.written, form.resolves_to) for form in ALL}) == len(ALL) >= 150
    assert {form.reason for form in ALL} >= set(Reason) - {Reason.EXCEPTION, Reason.OWN, Reason.TOO_LONG}


def test_the_tables_of_the_document_are_made_of_the_list() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    tables = "".join(f"\n### {name}\n\n{table_of(forms)}" for name, forms in FORMS.items())
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN"):
        DOCUMENT.write_text(text.partition(BEGINNING)[0] + BEGINNING + tables, encoding="utf-8")
        pytest.skip("written")

    assert text.partition(BEGINNING)[2] == tables
