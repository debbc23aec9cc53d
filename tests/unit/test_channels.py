"""Channel files: what they may say, and how mistakes in them are told without telling secrets."""

from pathlib import Path

import pytest

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.setting_parts import SecretFromEnv, SecretFromFile
from flowgauge.sinks.webhooks.channels import ChannelBook, load_channels, parse_channels
from flowgauge.sinks.webhooks.kinds import KINDS

GOOD = """
rules: [{name: passed over here}]
channels:
  - name: data-oncall
    webhook: {url: "https://hooks.example/T0KEN", secret: {env: ONCALL}, previous_secret: {file: /run/old}}
  - name: data-oncall
    tenant: acme
    webhook: {url: "http://127.0.0.1:9000/", secret: {file: /run/acme}}
"""


def problems_in(text: str) -> list[str]:
    with pytest.raises(InvalidRules) as caught:
        parse_channels("c.yaml", text)
    return [str(problem) for problem in caught.value.problems]


def test_a_tenants_channel_hides_everybodys_and_is_not_for_others() -> None:
    book = parse_channels("c.yaml", GOOD)

    acme, other = book.find("acme", "data-oncall"), book.find("other", "data-oncall")

    assert acme is not None
    assert tuple(acme.kind.secret_refs.values()) == (SecretFromFile(file="/run/acme"),)
    assert other is not None
    assert tuple(other.kind.secret_refs.values()) == (SecretFromEnv(env="ONCALL"), SecretFromFile(file="/run/old"))
    assert book.find("acme", "nobody") is None


def test_a_url_is_never_shown() -> None:
    assert "T0KEN" not in repr(parse_channels("c.yaml", GOOD))


def test_files_and_folders_are_read_and_rules_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text("rules: []\n")
    (tmp_path / "c.txt").write_text("{")

    assert len(load_channels([tmp_path]).channels) == 2
    assert load_channels([]) == ChannelBook()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRules, match=r"none\.yaml: No such file or directory \(name a readable"):
        load_channels([tmp_path / "none.yaml"])


NO_URL = "c.yaml:3:13: channels[0].webhook.url: expected https://HOST/PATH (http only for what egress.allow opens)"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "channels:\n- name: a\n  tenat: b\n  webhook: {url: 'https://h', secret: {env: A}}",
            "c.yaml:3:3: channels[0].tenat: unknown field (did you mean `tenant`?)",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'https://h', secret: {env: A}, secrets: 3}",
            "c.yaml:3:49: channels[0].webhook.secrets: unknown field (did you mean `secret`?)",
        ),
        (
            "channels:\n- name: a\n  slack: {}\n  webhook: {url: 'https://h', secret: {env: A}}",
            "c.yaml:3:3: channels[0].slack: expected `url`, or `token` and `channel`",
        ),
        (
            "channels:\n- name: a\n  slack: {url: {env: A}, channel: '#a', token: {env: B}}",
            "c.yaml:3:3: channels[0].slack: expected `url`, or `token` and `channel`; got url and token and channel",
        ),
        (
            "channels:\n- name: a\n  slack: {token: xoxb-S3CRET, channel: '#a'}",
            "c.yaml:3:11: channels[0].slack.token: expected where the secret stands: {env: NAME} or {file: PATH}",
        ),
        ("channels:\n- name: a", f"c.yaml:2:3: channels[0]: expected one of: {', '.join(KINDS)}"),
        (
            "channels:\n- webhook: {url: 'https://h', secret: {env: A}}",
            "c.yaml:2:3: channels[0].name: this field is required (add `name:`)",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'https://h', secret: whsec_abc}",
            "c.yaml:3:31: channels[0].webhook.secret: expected where the secret stands: {env: NAME} or {file: PATH}",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'https://h', secret: {env: A, file: B}}",
            "c.yaml:3:31: channels[0].webhook.secret: expected where the secret stands: {env: NAME} or {file: PATH}",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'ftp://h/T0KEN', secret: {env: A}}",
            f"{NO_URL}, got one that begins with ftp://",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'h.example/T0KEN', secret: {env: A}}",
            f"{NO_URL}, got one that does not begin with https://",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'https:///T0KEN', secret: {env: A}}",
            f"{NO_URL}, got one without a host",
        ),
        (
            "channels:\n- name: a\n  webhook: {url: 'https://h /T0KEN', secret: {env: A}}",
            (
                "c.yaml:3:13: channels[0].webhook.url: the URL has a space or control character;"
                " at most 2048 characters without spaces"
            ),
        ),
        (
            (
                "channels:\n- name: a\n  webhook: {url: 'https://h', secret: {env: A}}\n"
                "- name: a\n  webhook: {url: 'https://i', secret: {env: A}}"
            ),
            "c.yaml:4:3: channels[1].name: a second channel 'a' (rename one of them)",
        ),
        (
            "channels: [7]",
            "c.yaml:1:12: channels[0]: expected a channel (write `- name:` and `webhook:` or another kind below it)",
        ),
        (
            "channels:\n- name: a\n  email: {to: [a@b.example], from: c@d.example, host: h, form: x}",
            "c.yaml:3:58: channels[0].email.form: unknown field (did you mean `from`?)",
        ),
        (
            "channels:\n- name: a\n  fallback: action:stop\n  webhook: {url: 'https://h', secret: {env: A}}",
            (
                "c.yaml:3:3: channels[0].fallback: a channel's name does not begin with action:: "
                "define it under `actions:`"
            ),
        ),
        ("channels: 7", "c.yaml:1:1: channels: expected a list (begin each channel with `- name:`)"),
        ("chanels: []", "c.yaml:1:1: chanels: unknown field (known fields: rules, channels, routes, actions)"),
        ("[]", "c.yaml:1:1: expected `rules:` or `channels:` at the top (write rules: and a list below it)"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(text: str, told: str) -> None:
    assert problems_in(text) == [told]


def test_all_mistakes_are_told_and_no_url_or_secret_with_them() -> None:
    problems = problems_in("channels:\n- name: a\n  webhook: {url: 'gopher://T0KEN', secret: S3CRET}\n- 7")

    assert len(problems) == 3
    assert not any("T0KEN" in problem or "S3CRET" in problem for problem in problems)
