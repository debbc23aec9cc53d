"""Settings: precedence, secrets, and the exact message of each mistake in tests/golden/config/."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flowgauge.console.sinking import sink_limits
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.setting_parts import SecretFromEnv, SecretFromFile
from flowgauge.schemas.settings import (
    Settings,
    is_loopback,
    load_settings,
    parse_settings,
    resolve_password,
    resolve_secret,
    resolve_tokens,
)
from flowgauge.sinks.clickhouse.batch import LIMITS
from flowgauge.sinks.clickhouse.quarantine import Quarantine

MISTAKES = sorted((Path(__file__).parents[1] / "golden" / "config").glob("*.toml"))
TWO_TENANTS = """
[tenants.acme]
tokens = [{ env = "ACME" }, { file = "acme.token" }]
[tenants.beta]
tokens = [{ env = "BETA" }]
"""


def parse(text: str = "", environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    return parse_settings(text, "flowgauge.toml", environ or {}, flags)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda path: path.stem)
def test_each_mistake_in_a_file_is_told_with_its_place_and_remedy(mistake: Path) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(mistake, {}, {})

    assert f"{refused.value}\n".replace(str(mistake), mistake.name) == mistake.with_suffix(".txt").read_text()


def test_nothing_written_is_a_loopback_server_in_the_present_folder() -> None:
    settings = parse()

    assert (settings.data, settings.host, settings.port, settings.partitions) == (
        Path(".flowgauge"),
        "127.0.0.1",
        4280,
        1,
    )
    assert (settings.max_alert_age_ms, settings.retention_ms) == (3_600_000, 7 * 86_400_000)


def test_flags_win_over_the_environment_and_that_over_the_file() -> None:
    text = 'port = 1\npartitions = 1\nhost = "127.0.0.2"'

    settings = parse(text, {"FLOWGAUGE_PORT": "2", "FLOWGAUGE_PARTITIONS": "2"}, port=3, partitions=None)

    assert (settings.port, settings.partitions, settings.host) == (3, 2, "127.0.0.2")


def test_a_list_in_the_environment_is_separated_by_commas() -> None:
    assert parse("", {"FLOWGAUGE_EGRESS_ALLOW": "127.0.0.1:9000, a.test"}).egress.allow == ("127.0.0.1:9000", "a.test")


def test_a_flag_may_name_a_setting_of_a_table() -> None:
    assert parse("", {}, **{"egress.allow": ["127.0.0.1:9000"]}).egress.allow == ("127.0.0.1:9000",)


def test_where_clients_publish_to_and_names_unlike_ours_are_no_settings() -> None:
    environ = {"FLOWGAUGE_URL": "http://x", "FLOWGAUGE_TOKEN": "t", "FLOWGAUGE_ACME_SECRET": "s", "PORT": "1"}

    assert parse("", environ) == Settings()


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({"FLOWGAUGE_PRT": "1"}, {}, "environment: FLOWGAUGE_PRT: unknown setting (did you mean FLOWGAUGE_PORT?)"),
        ({"FLOWGAUGE_PARTITIONS": "0"}, {}, "environment: FLOWGAUGE_PARTITIONS: expected at least 1, got 0"),
        (
            {"FLOWGAUGE_PORT": "tcp://10.0.0.1:4280"},
            {},
            (
                "environment: FLOWGAUGE_PORT: expected a whole number, got 'tcp://10.0.0.1:4280'"
                " (correct or unset it, or turn off enableServiceLinks in Kubernetes)"
            ),
        ),
        ({}, {"port": -1}, "--port: expected at least 0, got -1"),
        ({}, {"samples_partitions": 1_000}, "--samples-partitions: expected at most 256, got 1000"),
    ],
)
def test_a_mistake_outside_the_file_is_told_where_it_stands(
    environ: Mapping[str, str], flags: Mapping[str, object], message: str
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        parse_settings("", "flowgauge.toml", environ, flags)

    assert str(refused.value) == message


def test_a_named_file_that_is_missing_is_an_error_and_an_unnamed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings(None, {}, {}) == Settings()
    with pytest.raises(InvalidSettings, match=r"no\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "no.toml", {}, {})


def test_flowgauge_toml_of_the_present_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flowgauge.toml").write_text("port = 7")
    monkeypatch.chdir(tmp_path)

    assert load_settings(None, {}, {}).port == 7


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"port = 1 # \xff")

    with pytest.raises(InvalidSettings, match="not UTF-8 at byte 11"):
        load_settings(tmp_path / "x.toml", {}, {})


def test_tokens_are_found_where_the_settings_say() -> None:
    files = {"acme.token": "two-of-acme\n"}

    entries = resolve_tokens(parse(TWO_TENANTS), {"ACME": "one", "BETA": "three"}, files.__getitem__)

    assert entries == {"one": "acme", "two-of-acme": "acme", "three": "beta"}


def test_a_token_file_may_hold_several_tokens_and_a_variable_one() -> None:
    files = {"acme.token": "# until March\n old-token \n  # from March on\nnew-token\n\n"}

    entries = resolve_tokens(parse(TWO_TENANTS), {"ACME": "one", "BETA": "three"}, files.__getitem__)

    assert entries == {"one": "acme", "old-token": "acme", "new-token": "acme", "three": "beta"}


@pytest.mark.parametrize(
    "line", ["x", "seven-7", "two words", "two\twords", "schlüssel-von-acme", "token-of-acme # new"]
)
def test_a_line_of_a_token_file_that_is_no_token_is_told_by_its_number_and_not_shown(line: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        resolve_tokens(parse(TWO_TENANTS), {"ACME": "one", "BETA": "three"}, lambda _: f"good-token\n\n{line}\n")

    assert "tenants.acme.tokens.1: file acme.token line 3 is " in str(refused.value)
    assert line == "x" or line not in str(refused.value)


def test_a_token_file_of_comments_alone_counts_as_empty() -> None:
    with pytest.raises(InvalidSettings, match=r"file acme\.token is not set or empty"):
        resolve_tokens(parse(TWO_TENANTS), {"ACME": "one", "BETA": "three"}, lambda _: "# soon-there\n")


def test_two_tenants_with_one_token_are_refused_without_telling_it() -> None:
    with pytest.raises(InvalidSettings, match="tenant 'acme' has the same token") as refused:
        resolve_tokens(parse(TWO_TENANTS), {"ACME": "twin", "BETA": "twin"}, lambda _: "other-token")

    assert "twin" not in str(refused.value)


def test_a_token_that_is_not_there_is_told_with_its_file_and_tenant(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(TWO_TENANTS, encoding="utf-8")

    with pytest.raises(InvalidSettings) as refused:
        resolve_tokens(load_settings(file, {}, {}), {"ACME": "one"}, lambda _: "two-of-acme")

    assert str(refused.value) == (
        f"{file}: tenants.beta.tokens.0: environment variable BETA is not set or empty"
        " (set it where flowgauge is started)"
    )


def test_settings_know_the_file_that_they_were_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = load_settings(None, {}, {}).file
    Path("flowgauge.toml").touch()

    assert (before, load_settings(None, {}, {}).file) == ("", "flowgauge.toml")


@pytest.mark.parametrize("value", ["", "  \n", "two\nlines", "x" * 5_000])
def test_a_secret_is_one_line_that_is_not_empty(value: str) -> None:
    with pytest.raises(InvalidSettings, match="environment variable ACME is not"):
        resolve_secret(SecretFromEnv(env="ACME"), {"ACME": value}, str)


def test_a_secret_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidSettings, match=r"file /no/such cannot be read: No such file"):
        resolve_secret(SecretFromFile(file="/no/such"), {}, lambda path: Path(path).read_text())


def test_a_secret_never_stands_in_what_is_printed() -> None:
    settings = parse(TWO_TENANTS)

    with pytest.raises(InvalidSettings) as refused:
        parse('[tenants.acme]\ntokens = ["hunter2"]\n')

    assert "hunter2" not in str(refused.value)
    assert "ACME" in repr(settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.test"])
def test_a_host_that_others_reach_needs_tokens(host: str) -> None:
    with pytest.raises(InvalidSettings, match=r"no tokens are configured \(use --host 127\.0\.0\.1, or add"):
        parse("", {}, host=host).refuse_open_host()

    parse(TWO_TENANTS, {}, host=host).refuse_open_host()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_host_needs_none(host: str) -> None:
    parse("", {}, host=host).refuse_open_host()

    assert is_loopback(host)


CLICKHOUSE = '[clickhouse]\nurl = "https://ch.test:8443"\npassword = { file = "ch.secret" }'


def test_a_clickhouse_server_needs_no_file() -> None:
    environ = {
        "FLOWGAUGE_CLICKHOUSE_URL": "http://ch.test:8123",
        "FLOWGAUGE_CLICKHOUSE_PASSWORD": "hunter2",
        "FLOWGAUGE_CLICKHOUSE_CA": "/etc/ca.pem",
    }

    settings = parse("", environ)

    assert (settings.clickhouse.url, settings.clickhouse.ca) == ("http://ch.test:8123", Path("/etc/ca.pem"))
    assert resolve_password(settings, environ, str) == "hunter2"
    assert "hunter2" not in str(settings)


def test_clickhouse_cloud_is_asked_over_tls() -> None:
    cloud = '[clickhouse]\ncluster = "cloud"\nurl = "{}"'

    assert parse(cloud.format("https://ch.test:8443"), {}).clickhouse.cluster == "cloud"
    with pytest.raises(InvalidSettings, match=r"clickhouse\.url: ClickHouse Cloud speaks TLS alone"):
        parse(cloud.format("http://ch.test:8123"), {})


def test_the_password_of_clickhouse_is_found_where_the_settings_say() -> None:
    assert resolve_password(parse(CLICKHOUSE), {}, {"ch.secret": "hunter2\n"}.__getitem__) == "hunter2"
    assert resolve_password(parse(), {}, str) == ""


def test_a_service_of_kubernetes_is_no_mistyped_setting() -> None:
    assert parse("", {"FLOWGAUGE_CLICKHOUSE_PORT": "tcp://10.0.0.1:8123"}) == Settings()


def test_a_variable_of_that_name_may_hold_what_the_file_points_to() -> None:
    text = CLICKHOUSE.replace('file = "ch.secret"', 'env = "FLOWGAUGE_CLICKHOUSE_PASSWORD"')
    environ = {"FLOWGAUGE_CLICKHOUSE_PASSWORD": "hunter2"}

    assert resolve_password(parse(text, environ), environ, str) == "hunter2"


def test_a_password_of_clickhouse_that_is_not_there_is_told_with_its_place() -> None:
    with pytest.raises(InvalidSettings) as refused:
        resolve_password(parse(CLICKHOUSE.replace("file", "env")), {}, str)

    assert str(refused.value) == (
        "flowgauge.toml: clickhouse.password: environment variable ch.secret is not set or empty"
        " (set it where flowgauge is started)"
    )


def test_mistakes_of_the_environment_the_file_and_the_flags_are_told_at_once() -> None:
    environ = {"FLOWGAUGE_PROT": "1", "FLOWGAUGE_PARTITIONS": "few"}

    with pytest.raises(InvalidSettings) as refused:
        parse_settings('hots = "a"', "flowgauge.toml", environ, {"retention_days": 0})

    assert str(refused.value).splitlines() == [
        "environment: FLOWGAUGE_PARTITIONS: expected a whole number, got 'few' (correct or unset it)",
        "environment: FLOWGAUGE_PROT: unknown setting (did you mean FLOWGAUGE_PORT?)",
        "--retention-days: expected at least 1, got 0",
        "flowgauge.toml: hots: unknown setting (did you mean host?)",
    ]


def test_the_limits_of_the_quarantine_come_from_file_and_environment() -> None:
    environ = {
        "FLOWGAUGE_QUARANTINE_GO_ON": "flowgauge.events-0@4, flowgauge.dlq-1@7",
        "FLOWGAUGE_QUARANTINE_SPAN": "80",
    }

    limits = sink_limits(parse("[quarantine]\nrun_max = 9\n", environ).quarantine)

    places = frozenset({"flowgauge.events-0@4", "flowgauge.dlq-1@7"})
    assert limits.quarantine == Quarantine(run_max=9, span=80, go_on=places)
    assert sink_limits(parse("").quarantine) == LIMITS
