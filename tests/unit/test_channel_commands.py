"""`flowgauge channels list|test`: what there is, which one is meant, and what keeps it from being tried."""

from pathlib import Path

import pytest

from flowgauge.console.channel_trial import channel_named, trial_end, trial_firing, trial_send, verdict_words
from flowgauge.console.main import main
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.signing_keys import new_secret
from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.sinks.webhooks.schedule import GONE, Verdict

CHANNELS = """
channels:
  - name: data-oncall
    fallback: chat
    webhook: {url: "https://hooks.example/T0KEN", secret: {env: ONCALL_SECRET}}
  - name: chat
    tenant: acme
    delivery_failures: true
    slack: {url: {env: CHAT_URL}}
  - name: pager
    tenant: acme
    pagerduty: {routing_key: {env: PAGER_KEY}}
  - name: pager
    tenant: beta
    pagerduty: {routing_key: {env: PAGER_KEY}}
"""
AWAY = "http://127.0.0.1:9"  # nobody listens
BOOK = parse_channels("channels.yaml", CHANNELS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "channels.yaml").write_text(CHANNELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Run a command; return its exit code, what it printed, and what it said on standard error."""
    with pytest.raises(SystemExit) as end:
        main(["channels", *arguments])
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_channels_are_listed_by_name_without_addresses_and_without_a_server(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ended(capsys, "list", "--rules", str(folder), "--url", AWAY)

    assert (code, "T0KEN" in out, err.startswith(f"no server answers at {AWAY}")) == (0, False, True)
    assert [line.split()[:4] for line in out.splitlines()[2:]] == [
        ["chat", "acme", "slack", "–"],
        ["data-oncall", "*", "webhook", "chat"],
        ["pager", "acme", "pagerduty", "–"],
        ["pager", "beta", "pagerduty", "–"],
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["data-onkall"], 2, "no channel is called 'data-onkall': did you mean 'data-oncall'?"),
        (["chat", "--tenant", "beta"], 2, "no channel is called 'chat' for tenant beta: there are data-oncall, pager"),
        (["pager"], 2, "several channels are called 'pager': say whose with --tenant; there are those of acme, beta"),
        (["data-oncall"], 3, "channel data-oncall: secret: environment variable ONCALL_SECRET is not set or empty"),
    ],
)
def test_what_cannot_be_tried_says_why_and_sends_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], *, arguments: list[str], code: int, said: str
) -> None:
    ended_with, out, err = ended(capsys, "test", *arguments, "--rules", str(folder))

    assert (ended_with, out, said in err) == (code, "", True), err


def test_a_secret_that_is_none_is_refused_without_being_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCALL_SECRET", "s3cret")

    code, out, err = ended(capsys, "test", "data-oncall", "--rules", str(folder))

    assert (code, out, "s3cret" in err, "channel data-oncall: secret: no webhook secret" in err) == (2, "", False, True)


def test_an_address_that_is_not_open_is_not_reached_and_the_remedy_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "channels.yaml").write_text(CHANNELS.replace("https://hooks.example", AWAY), encoding="utf-8")
    monkeypatch.setenv("ONCALL_SECRET", new_secret(bytes(range(32))))

    code, out, err = ended(capsys, "test", "data-oncall", "--rules", str(folder))

    first, fired, remedy, after = out.splitlines()
    assert (code, err, first) == (1, "", "data-oncall: a webhook of tenant *, from here")
    assert fired.startswith("firing    not delivered: ")
    assert "egress.allow" in remedy
    assert after.strip() == "the notifier would try it again"
    assert "127.0.0.1" not in out


def test_without_a_folder_the_usage_says_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code, _, err = ended(capsys, "test", "chat")

    assert (code, "--rules DIR" in err) == (2, True)


def test_the_tenant_is_the_channels_own_where_nobody_names_one() -> None:
    assert channel_named(BOOK, "chat", None)[1] == "acme"
    assert channel_named(BOOK, "data-oncall", None)[1] == "default"
    assert channel_named(BOOK, "pager", "beta")[0].tenant == "beta"
    with pytest.raises(BadInput, match="there is none"):
        channel_named(parse_channels("none.yaml", ""), "chat", None)


def test_the_end_of_a_trial_is_of_the_same_incident_under_an_id_of_its_own() -> None:
    channel, tenant = channel_named(BOOK, "chat", None)
    firing = trial_firing(channel, tenant, severity="info", now_ms=1_000)
    end = trial_end(firing, 900)  # the clock stepped back

    sends = [trial_send(channel, firing), trial_send(channel, end, "ts-1")]

    assert [(each.incident_id, each.transition.to_state) for each in sends] == [
        (firing.incident_id, "firing"),
        (firing.incident_id, "resolved"),
    ]
    assert len({each.delivery_id for each in sends}) == 2
    assert (firing.rule, end.at_ms, sends[1].members[0].reference) == ("flowgauge: test of channel chat", 1_000, "ts-1")


def test_a_verdict_says_what_to_do_and_what_the_notifier_would() -> None:
    assert list(verdict_words(Verdict("delivered", "", 204, 12))) == ["delivered (12 ms, status 204)"]
    assert list(verdict_words(Verdict("failed", "answered 4xx", 403, 7)))[0::2] == [
        "not delivered: answered 4xx (7 ms, status 403)",
        "the notifier would try it again",
    ]
    assert list(verdict_words(Verdict("dead", GONE, 410, 7)))[2] == "the notifier would give it up"
