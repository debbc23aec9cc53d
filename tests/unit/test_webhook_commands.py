"""`flowgauge webhooks sign|verify|keygen`: where secrets come from, and what is said of one that is none."""

import io
import sys
from pathlib import Path

import pytest

from flowgauge.console.main import main
from flowgauge.schemas.signing import sign
from flowgauge.schemas.signing_keys import new_private_key, public_key_of, signing_key

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # of no receiver
PRIVATE = new_private_key(bytes(range(32)))
MAKE_ONE = "(make one: flowgauge webhooks keygen)\n"
SIGNED = ("--id", "m1", "--timestamp", "7")


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["webhooks", *arguments])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.fixture(autouse=True)
def body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))


def signature_of(*secrets: str) -> str:
    return " ".join(sign(secret, message_id="m1", timestamp_s=7, body=b"{}") for secret in secrets)


@pytest.mark.parametrize("where", ["option", "variable", "file"])
def test_sign_takes_the_secret_from_an_option_a_variable_or_a_file(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv("MY_SECRET", SECRET)
    options = {
        "option": ("--secret", SECRET),
        "variable": ("--secret-env", "MY_SECRET"),
        "file": ("--secret-file", str(tmp_path / "secret")),
    }

    said = ran(capsys, "sign", *options[where], "--id", "m1", "--timestamp", "7")

    assert said == (0, signature_of(SECRET) + "\n", "")


def test_sign_signs_with_every_secret_that_the_variable_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWGAUGE_WEBHOOK_SECRET", f"{SECRET}\n {PRIVATE}")

    assert ran(capsys, "sign", *SIGNED) == (0, signature_of(SECRET, PRIVATE) + "\n", "")


@pytest.mark.parametrize(
    ("secret", "now", "said"),
    [
        (SECRET, 7, (0, "verified\n", "")),
        (PRIVATE, 7, (0, "verified\n", "")),
        (public_key_of(PRIVATE), 307, (0, "verified\n", "")),
        (public_key_of(PRIVATE), 308, (1, "not verified: webhook-timestamp is too old\n", "")),
        (new_private_key(bytes(32)), 7, (1, "not verified: no signature matches\n", "")),
    ],
)
def test_verify_says_whether_a_message_is_signed_and_recent(
    secret: str, now: int, said: tuple[int, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    signature = signature_of(SECRET, PRIVATE)

    assert ran(capsys, "verify", "--secret", secret, *SIGNED, "--signature", signature, "--now", str(now)) == said


def test_verify_judges_by_the_clock_and_takes_headers_as_they_came(capsys: pytest.CaptureFixture[str]) -> None:
    old = ran(capsys, "verify", "--secret", SECRET, *SIGNED, "--signature", "v1")
    odd = ran(capsys, "verify", "--secret", SECRET, "--id", "\udcff", "--timestamp", "soon")
    none = ran(capsys, "verify", "--secret", SECRET)

    assert old == (1, "not verified: webhook-timestamp is too old\n", "")
    assert odd == (1, "not verified: webhook-id is malformed\n", "")
    assert none == (1, "not verified: webhook-id is missing\n", "")


def test_keygen_makes_a_secret_that_signs_and_never_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    made = [ran(capsys, "keygen") for _ in range(2)]

    assert made[0] != made[1]
    for code, secret, said in made:
        assert (code, said) == (0, "")
        assert signing_key(secret.strip()).version == "v1"


def test_keygen_makes_an_ed25519_pair_and_public_key_shows_its_half_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, secret, said = ran(capsys, "keygen", "--ed25519")
    (tmp_path / "secret").write_text(secret)

    shown = ran(capsys, "public-key", "--secret-file", str(tmp_path / "secret"))

    assert code == 0
    assert signing_key(secret.strip()).version == "v1a"
    assert said == f"for receivers: {shown[1]}"
    assert shown == (0, public_key_of(secret.strip()) + "\n", "")


def test_sign_without_a_secret_says_where_to_put_one_and_how_to_make_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLOWGAUGE_WEBHOOK_SECRET", raising=False)

    code, _, said = ran(capsys, "sign", *SIGNED)

    assert (code, said) == (
        2,
        "flowgauge: no secret to sign with: set FLOWGAUGE_WEBHOOK_SECRET, or give --secret-file " + MAKE_ONE,
    )


@pytest.mark.parametrize(
    "command", [("sign", *SIGNED), ("verify", *SIGNED), ("public-key",), ("listen", "--port", "0")]
)
def test_a_secret_that_is_none_is_told_by_its_form_and_never_shown(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWGAUGE_WEBHOOK_SECRET", "hunter2")

    code, _, said = ran(capsys, *command)

    assert code == 2
    assert said == (
        "flowgauge: webhook secret: expected whsec_ and the base64 of 24 to 64 random bytes,"
        " or whsk_ and that of an ed25519 key " + MAKE_ONE
    )


def test_sign_refuses_a_public_key_without_showing_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = ran(capsys, "sign", "--secret", public_key_of(PRIVATE), *SIGNED)

    assert (code, said) == (
        2,
        "flowgauge: webhook secret: whpk_ is the public key, which only verifies; sign with its whsk_ " + MAKE_ONE,
    )
