"""The rules folder in force: changes at once are taken one after the other, and a kill leaves no half of one."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from tests.integration.up_process import running_up, wait_for

from flowgauge.console.rule_files import replace_files
from flowgauge.console.rule_folder import PUBLIC_ONLY, RuleFolder, read_texts
from flowgauge.console.up import partitions_of
from flowgauge.processors.ruletopic import RuleBook
from flowgauge.schemas.errors import BadInput, InvalidRules, Transient
from flowgauge.schemas.settings import Settings
from flowgauge.transport.health import Health
from flowgauge.transport.local import open_local_log

RULE = "rules: [{{name: {name}, when: {{event: {{}}}}}}]\n"
OLD = {"a.yaml": RULE.format(name="moved"), "b.yaml": RULE.format(name="other")}
NEW = {"b.yaml": RULE.format(name="moved"), "c.yaml": RULE.format(name="new"), "d.yml": RULE.format(name="other")}
KILLED_APPLY = Path(__file__).with_name("killed_apply.py")


async def test_rule_sets_applied_at_once_each_get_a_version_of_their_own(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    folder = RuleFolder(tmp_path / "rules", Health())
    stop = asyncio.Event()

    applied = await asyncio.gather(
        *(folder.replace({f"{name}.yaml": RULE.format(name=name)}, log, stop) for name in ("a", "b", "c"))
    )

    book = RuleBook(log)
    await book.refresh()
    await log.close()
    names = {version: [item.name for item in ruleset.rules] for version, ruleset in book.rulesets.items()}
    assert sorted(each.version for each in applied) == [1, 2, 3]
    assert sorted(names.values()) == [["a"], ["b"], ["c"]]
    assert [file.stem for file in (tmp_path / "rules").iterdir()] == names[book.current_version]


@pytest.mark.timeout(60)
def test_a_kill_at_any_step_of_a_change_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    command = [sys.executable, str(KILLED_APPLY), str(tmp_path), json.dumps(OLD), json.dumps(NEW)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    left = [json.loads(line) for line in done.stdout.splitlines()]
    outcomes = [each["after"] for each in left]
    switch = outcomes.index(NEW)
    assert len(left) > 20
    assert outcomes == [OLD] * switch + [NEW] * (len(left) - switch)
    assert any(each["before"] not in (OLD, NEW) for each in left)  # there is a half to be finished
    assert [each["killed"] for each in left] == [True] * (len(left) - 1) + [False]
    assert {tuple(each["beside"]) for each in left} == {("rules",)}


@pytest.mark.integration
@pytest.mark.timeout(180)
def test_up_starts_with_the_whole_new_set_after_a_kill_in_the_middle(tmp_path: Path) -> None:
    data = tmp_path / "data"
    replace_files(data / "rules", OLD)
    (data / ".rules.next").mkdir()
    for name, text in NEW.items():
        (data / ".rules.next" / name).write_text(text)
    (data / "rules" / "b.yaml").write_text(NEW["b.yaml"])  # two files hold the rule `moved` now

    with running_up(data) as up:
        wait_for(lambda: up.get("/v1/health")["rules_version"] == 1, "the rules")

        assert {file.name: file.read_text() for file in (data / "rules").iterdir()} == NEW
        assert up.get("/v1/health")["problems"] == {}


@pytest.mark.parametrize(
    "name",
    [
        "a\0.yaml",
        "a\n.yaml",
        "../a.yaml",
        "a/b.yaml",
        "a\\b.yaml",
        ".yaml",
        "a.txt",
        "",
        "a\udcff.yaml",
        "é" * 99 + ".yaml",
    ],
)
async def test_a_name_that_no_rule_file_can_have_is_bad_input_and_changes_nothing(tmp_path: Path, name: str) -> None:
    replace_files(tmp_path / "rules", OLD)

    with pytest.raises(BadInput, match="is no name of a rule file: expected"):
        replace_files(tmp_path / "rules", {**NEW, name: ""})

    assert {file.name: file.read_text() for file in (tmp_path / "rules").iterdir()} == OLD


def test_a_folder_that_cannot_be_written_is_told_and_not_a_bug(tmp_path: Path) -> None:
    (tmp_path / ".rules.draft").write_text("a file in the way")

    with pytest.raises(Transient, match="cannot be written"):
        replace_files(tmp_path / "rules", NEW)


TELLING = """
rules:
  - {name: one, when: {event: {}}, notify: [data-oncal, nobody]}
  - {name: of acme, tenant: acme, when: {event: {}}, notify: [ops, others]}
channels:
  - name: data-oncall
    webhook: {url: "https://a.example/", secret: {env: NOT_SET}, previous_secret: {env: NOT_BASE64}}
  - {name: ops, tenant: acme, webhook: {url: "https://a.example/", secret: {env: GOOD}}}
  - {name: others, tenant: other, webhook: {url: "http://127.0.0.1:9/", secret: {file: /no/such}}}
"""


def test_who_would_not_be_told_stands_in_health_with_its_place_and_detection_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("NOT_BASE64", "hunter2")
    monkeypatch.setenv("GOOD", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    replace_files(tmp_path / "rules", {"a.yaml": TELLING})
    health = Health()

    written = RuleFolder(tmp_path / "rules", health).open()

    file = tmp_path / "rules" / "a.yaml"
    problems = [str(each) for each in written.warnings]
    assert (
        "\n".join(problems).replace(str(file), "a.yaml")
        == """\
a.yaml:3:45: rules[0].notify[0]: no channel is called 'data-oncal': nobody would be told (did you mean 'data-oncall'?)
a.yaml:3:57: rules[0].notify[1]: no channel is called 'nobody': nobody would be told\
 (define it under `channels:`, or use one of: data-oncall, ops, others)
a.yaml:4:68: rules[1].notify[1]: no channel is called 'others' for tenant acme: nobody would be told\
 (define it under `channels:`, or use one of: data-oncall, ops)
a.yaml:7:42: channels[0].webhook.secret: environment variable NOT_SET is not set or empty\
 (set it where flowgauge is started)
a.yaml:7:66: channels[0].webhook.previous_secret: no webhook secret: expected whsec_ and the base64 of 24 to 64\
 random bytes, or whsk_ and that of an ed25519 key (make one: flowgauge webhooks keygen)
a.yaml:9:73: channels[2].webhook.secret: file /no/such cannot be read: No such file or directory\
 (make it readable for flowgauge)
a.yaml:9:45: channels[2].webhook.url: no message may go there: loopback address\
 (allow it by egress.allow = ["127.0.0.1:9"] in flowgauge.toml)"""
    )
    assert health.seen_by("acme", is_operator=True).problems == {"notify": f"{problems[0]} and 6 more"}
    assert health.seen_by("acme", is_operator=False).problems == {}
    assert len(written.ruleset.rules) == 2


RUNNING = """
rules:
  - {name: one, when: {event: {}}, actions: [restrt, {run: tidy, on: [resolved]}]}
actions:
  - {name: restart, http: {url: "http://127.0.0.1:9/", headers: {authorization: {env: NOT_SET}}}}
  - {name: tidy, tenant: acme, command: {run: [/usr/bin/tidy]}}
"""


def test_what_would_not_be_run_is_told_with_its_place_and_refused_where_it_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    replace_files(tmp_path / "rules", {"a.yaml": RUNNING})

    folder = RuleFolder(tmp_path / "rules", Health())
    written = folder.open()

    told = "\n".join(str(each) for each in written.warnings)
    assert (
        told.replace(str(tmp_path / "rules" / "a.yaml"), "a.yaml")
        == """\
a.yaml:3:46: rules[0].actions[0]: no action is called 'restrt': nothing would be run (did you mean 'restart'?)
a.yaml:5:66: actions[0].http.headers.authorization: environment variable NOT_SET is not set or empty\
 (set it where flowgauge is started)
a.yaml:5:28: actions[0].http.url: no message may go there: loopback address\
 (allow it by egress.allow = ["127.0.0.1:9"] in flowgauge.toml)"""
    )
    assert [each.name for each in folder.places.actions.actions] == ["restart", "tidy"]
    with pytest.raises(InvalidRules, match="no action is called 'restrt'"):
        read_texts({"a.yaml": RUNNING}, PUBLIC_ONLY)


async def test_a_secret_that_comes_later_ends_its_problem_without_a_new_version(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    channel = f"{{name: ops, webhook: {{url: 'https://a.example/', secret: {{file: '{secret}'}}}}}}"
    replace_files(tmp_path / "rules", {"a.yaml": f"channels: [{channel}]\n"})
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    health = Health()
    folder = RuleFolder(tmp_path / "rules", health)
    versions = [await folder.apply(log, asyncio.Event())]
    before = dict(health.operator_problems)

    secret.write_text("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
    versions.append(await folder.apply(log, asyncio.Event()))
    await log.close()

    assert f"file {secret} cannot be read" in before["notify"]
    assert (versions[0] == versions[1], health.operator_problems) == (True, {})


async def test_a_broken_file_that_is_mended_is_told_in_the_log_though_the_rules_are_those_before(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rules" / "a.yaml"
    replace_files(file.parent, OLD)
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    folder, stop = RuleFolder(file.parent, Health()), asyncio.Event()
    await folder.apply(log, stop)
    good = file.read_text()

    with structlog.testing.capture_logs() as lines:
        file.write_text("rules: [")
        await folder.apply(log, stop)
        file.write_text(good)
        versions = [await folder.apply(log, stop), await folder.apply(log, stop)]
    await log.close()

    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "rules not applied"),
        ("info", "rules applied"),
    ]
    assert versions == [1, 1]


async def test_a_folder_without_its_last_file_is_told_and_only_a_file_without_rules_ends_them_all(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rules" / "a.yaml"
    replace_files(file.parent, {file.name: RULE.format(name="one")})
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    health, stop = Health(), asyncio.Event()
    folder = RuleFolder(file.parent, health)
    versions = [await folder.apply(log, stop)]

    file.unlink()
    versions.append(await folder.apply(log, stop))
    told = dict(health.operator_problems)
    left = [len(folder.ruleset.rules)]
    file.write_text("rules: []\n")
    versions.append(await folder.apply(log, stop))
    left.append(len(folder.ruleset.rules))
    await log.close()

    assert told == {
        "rules": f"no rule files in {file.parent}: expected NAME.yaml files; a file with `rules: []` ends all rules; "
        "the rules before it go on"
    }
    assert (versions, left, health.operator_problems) == ([1, 0, 2], [1, 0], {})


async def test_rules_that_are_sent_are_refused_whole_where_a_channel_is_missing(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    folder = RuleFolder(tmp_path / "rules", Health())

    with pytest.raises(InvalidRules, match=r"^b\.yaml:1:52: rules\[0\]\.notify\[0\]: no channel is called 'x'"):
        await folder.replace(
            {"b.yaml": "rules: [{name: one, when: {event: {}}, notify: [   x]}]\n"}, log, asyncio.Event()
        )
    await log.close()

    assert not (tmp_path / "rules").exists()


async def test_a_change_that_is_cancelled_keeps_its_lock_until_its_thread_has_written(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=partitions_of(Settings(data=tmp_path)))
    folder = RuleFolder(tmp_path / "rules", Health())
    changing = asyncio.create_task(folder.replace(OLD, log, asyncio.Event()))
    while not (tmp_path / "rules").exists() and not (tmp_path / ".rules.draft").exists():  # noqa: ASYNC110  # a thread makes it and tells nobody
        await asyncio.sleep(0)

    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    left = {file.name: file.read_text() for file in (tmp_path / "rules").iterdir()}
    await log.close()

    assert left == OLD
