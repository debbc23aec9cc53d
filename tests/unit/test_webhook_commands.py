"""`flowgauge webhooks sign|listen`: where the secret comes from, and what is said of one that is none."""

import io
import sys
from pathlib import Path

import pytest

from flowgauge.console.main import main
from flowgauge.sinks.webhooks.signing import sign

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # of no receiver
MAKE_ONE = "(make one: echo whsec_$(openssl rand -base64 32))\n"


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["webhooks", *arguments])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.mark.parametrize("where", ["option", "variable", "file"])
def test_sign_takes_the_secret_from_an_option_a_variable_or_a_file(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    options = {
        "option": ("--secret", SECRET),
        "variable": ("--secret-env", "MY_SECRET"),
        "file": ("--secret-file", str(tmp_path / "secret")),
    }

    said = ran(capsys, "sign", *options[where], "--id", "m1", "--timestamp", "7")

    assert said == (0, sign(SECRET, message_id="m1", timestamp_s=7, body=b"{}") + "\n", "")


def test_sign_without_a_secret_says_where_to_put_one_and_how_to_make_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLOWGAUGE_WEBHOOK_SECRET", raising=False)

    code, _, said = ran(capsys, "sign", "--id", "m1", "--timestamp", "7")

    assert (code, said) == (
        2,
        "flowgauge: no secret to sign with: set FLOWGAUGE_WEBHOOK_SECRET, or give --secret-file " + MAKE_ONE,
    )


@pytest.mark.parametrize("command", [("sign", "--id", "m1", "--timestamp", "7"), ("listen", "--port", "0")])
def test_a_secret_that_is_none_is_told_by_its_form_and_never_shown(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWGAUGE_WEBHOOK_SECRET", "hunter2")

    code, _, said = ran(capsys, *command)

    assert code == 2
    assert said == "flowgauge: webhook secret: expected whsec_ and the base64 of 24 to 64 random bytes " + MAKE_ONE
