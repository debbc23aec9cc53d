"""Everything in one process: what it takes in, what it refuses to start with, who may ask, how rules change."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Generator, Iterator
from getpass import getuser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from click.testing import CliRunner
from tests.integration.commands_here import run_here
from tests.integration.up_process import COMMAND, RULES, Up, end, environment, run, running_up, wait_for

from flowgauge.console.groups import ALL_GROUPS
from flowgauge.console.main import flowgauge
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FAILING = """
rules:
  - name: all failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 10s, min_samples: 3}}
    allowed_lateness: 1s
"""
TOLD = """rules:
  - {name: told, match: {flow: none}, when: {event: {}}, notify: [ops]}
channels:
  - {name: ops, webhook: {url: "https://alerts.example/", secret: {env: ONLY_HERE}}}
"""
MARKUP = """
rules:
  - name: <b>markup</b>
    match: {flow: "<script>*"}
    for_each: [flow]
    when: {event: {}}
    summary: "{{ flow }} happened"
"""


def event(flow: str, state: str, **more: object) -> dict[str, Any]:
    run_id = str(uuid4())
    return {
        "id": str(uuid4()),
        "occurred": rfc3339(now_ms()),
        "event": f"flow-run.{state}",
        "kind": "flow-run",
        "flow": flow,
        "run": run_id,
        "state": state,
        "resource": {"id": f"flow-run.{run_id}"},
        **more,
    }


def publish(up: Up, *events: dict[str, Any], headers: dict[str, str] | None = None) -> httpx2.Response:
    return up.http.post("/v1/events", json=list(events), headers=headers)


@contextlib.contextmanager
def http_server(body: bytes) -> Generator[str]:
    """Serve `body` at every path, as somebody else's program on that port does."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def of_tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a server of two tenants, of whom none is the operator."""
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "flowgauge.toml").write_text(
        '[tenants.acme]\ntokens = [{ env = "ACME" }]\n[tenants.other]\ntokens = [{ env = "OTHER" }]\n', encoding="utf-8"
    )
    with running_up(folder / "data", env={"ACME": "acme-token", "OTHER": "other-token"}) as running:
        yield running


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of a server that took an event and was told to end, and its address."""
    data = tmp_path_factory.mktemp("ended") / "data"
    with running_up(data) as up:
        assert publish(up, event("etl", "failed")).status_code == 200
        assert end(up.process) == 0
    return data, up.url


def test_events_come_in_over_http_and_clickhouse_answers_for_them(up: Up) -> None:
    answer = publish(up, event("etl", "completed"), event("etl", "failed"), {"id": "no event"})

    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (200, 2, 1)
    rows = wait_for(lambda: up.rows("/v1/metrics/failure-rate", flow="etl"), "the rollup")
    assert [(row["finished"], row["failed"]) for row in rows] == [(2, 1)]


def test_the_commands_ask_the_server(up: Up, tmp_path: Path) -> None:
    publish(up, event("asked", "completed"))
    wait_for(lambda: up.rows("/v1/metrics/runs", flow="asked"), "the run")

    found = run("metrics", "runs", "--flow", "asked", "--format", "json", "--url", up.url, cwd=tmp_path)

    assert (found.returncode, found.stderr) == (0, "")
    assert [row["state"] for row in json.loads(found.stdout)["rows"]] == ["completed"]


def test_an_hour_at_which_a_flow_fails_each_day_is_told_by_the_api_and_by_the_command(up: Up, tmp_path: Path) -> None:
    midnight_ms = now_ms() // DAY_MS * DAY_MS
    ends = [
        event("nightly", "failed" if -ago % 24 == 2 else "completed", occurred=rfc3339(midnight_ms - ago * HOUR_MS))
        for ago in range(1, 12 * 24 + 1)
    ]
    publish(up, *ends)
    wait_for(
        lambda: len(up.rows("/v1/metrics/runs", flow="nightly", since="20d", limit="1000")) == len(ends), "the runs"
    )
    sentence = (
        "100% of the failures of nightly fall between 02:00 and 03:00 UTC, on 12 days; "
        "4% of its runs end then; chance alone: p < 0.001"
    )

    found = run_here("metrics", "patterns", "--flow", "nightly", "--url", up.url, cwd=tmp_path)
    steady = run_here("metrics", "patterns", "--flow", "steady", "--url", up.url, cwd=tmp_path)

    assert (found.returncode, found.stderr) == (0, "")
    assert "Mon   0  0 ##  0" in found.stdout
    assert found.stdout.endswith(f"\n\n{sentence}.\n")
    assert [row["says"] for row in up.rows("/v1/metrics/patterns", flow="nightly")] == [sentence]
    assert steady.stdout.endswith("\n\nNo hour, weekday or day of the month stands out beyond chance.\n")


def test_errors_are_told_by_what_they_say(up: Up, tmp_path: Path) -> None:
    publish(up, *[event("saying", "failed", payload={"message": f"order {n} is lost"}) for n in range(3)])
    wait_for(lambda: len(up.rows("/v1/metrics/runs", flow="saying")) == 3, "the runs")

    found = run_here("metrics", "errors", "--flow", "saying", "--url", up.url, cwd=tmp_path)

    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[2].split("  ")[0] == "order <n> is lost"
    (row,) = up.rows("/v1/metrics/errors", flow="saying")
    assert (row["count"], row["runs"], row["flows"]) == (3, 3, 1)


def test_a_table_says_that_there_are_more_rows_and_shows_as_many_as_were_asked_for(up: Up, tmp_path: Path) -> None:
    publish(up, *[event("many", "completed") for _ in range(3)])
    wait_for(lambda: len(up.rows("/v1/metrics/runs", flow="many")) == 3, "the runs")

    found = [
        run_here("metrics", "runs", "--flow", "many", "--limit", n, "--url", up.url, cwd=tmp_path) for n in ("2", "3")
    ]

    assert [(each.returncode, len(each.stdout.splitlines()) - 2) for each in found] == [(0, 2), (0, 3)]
    assert [each.stderr for each in found] == [
        "2 rows are shown and there are more: --limit says how many to show\n",
        "",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("metrics", "zzz"), "no metric is called 'zzz': one of failure-rate, heatmap, runs, logs"),
        (("metrics", "latenes"), "no metric is called 'latenes': did you mean lateness? There are failure-rate, "),
        (("metrics", "runs", "--since", "yesterday"), "since: expected how long ago"),
        (("metrics", "runs", "--since", "99999999d"), "since: expected a time from 1970 until 2100"),
        (("metrics", "heatmap", "--tz", "Mars/Olympus"), "tz: expected an IANA time zone"),
    ],
)
def test_a_wrong_question_ends_with_2_and_says_what_is_expected(
    up: Up, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    found = run_here(*arguments, "--url", up.url, cwd=tmp_path)

    assert found.returncode == 2
    assert said in found.stderr
    assert found.stderr.count("\n") == 1


def test_an_incident_that_is_not_there_ends_with_1(up: Up, tmp_path: Path) -> None:
    found = run_here("incidents", "show", "0" * 32, "--url", up.url, cwd=tmp_path)

    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert "`flowgauge incidents list` shows them" in found.stderr


def test_a_page_under_a_foreign_name_is_not_answered(up: Up) -> None:
    answer = up.http.get("/", headers={"host": "rebound.example:4280"})

    assert answer.status_code == 403


def test_a_page_of_another_origin_cannot_send_rules_or_events(up: Up) -> None:
    for path in ("/v1/events", "/v1/rules"):
        answer = up.http.post(path, json=[], headers={"origin": "https://evil.example"})

        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/", "/incidents/none", "/static/console.css", "/v1/health", "/nowhere"])
def test_every_answer_carries_the_security_headers(up: Up, path: str) -> None:
    headers = up.http.get(path).headers

    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_health_and_measurements_are_told(up: Up) -> None:
    assert up.http.get("/healthz").text == up.http.get("/livez").text == "ok\n"
    wait_for(lambda: up.http.get("/readyz").status_code == 200, "a server that keeps up")
    ready = up.get("/readyz")
    assert (ready["role"], ready["ready"], ready["waiting"]) == ("up", True, [])
    assert [each["partitions"] for each in ready["groups"]] == [[0]] * len(ALL_GROUPS)
    assert up.get("/v1/health")["problems"] == {}
    assert "flowgauge_" in up.http.get("/metrics").text


def test_text_of_an_event_is_shown_as_text_and_never_as_markup(up: Up) -> None:
    up.http.post("/v1/rules", json={"files": {"markup.yaml": MARKUP}}).raise_for_status()
    rules_version = wait_for(lambda: up.get("/v1/health")["rules_version"], "the rules")
    publish(up, event("<script>alert(1)</script>", "completed"))

    pages = [
        wait_for(lambda: shown_with(up.http.get("/").text, "alert(1)"), "the incident on the overview"),
        up.http.get(f"/incidents/{up.rows('/v1/incidents')[0]['incident_id']}").text,
    ]

    assert rules_version >= 1
    for page in pages:
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script>alert" not in page


def shown_with(page: str, text: str) -> str:
    return page if text in page else ""


def test_a_taken_port_is_one_clear_line_and_exit_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        found = run("up", "--data", str(tmp_path / "data"), "--port", port, cwd=tmp_path)

    assert found.returncode == 3
    assert found.stderr == f"flowgauge: port {port} of 127.0.0.1 is taken; choose another with --port\n"
    assert not (tmp_path / "data").exists()


def test_a_start_with_broken_rules_leaves_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text("rules: 1", encoding="utf-8")

    found = run("up", "--data", "data", "--port", "0", "--rules", "rules", cwd=tmp_path)

    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["rules"]


def test_without_a_url_the_server_that_owns_the_data_folder_is_asked(up: Up, tmp_path: Path) -> None:
    data = str(up.process.args[up.process.args.index("--data") + 1])  # type: ignore[index, union-attr, arg-type]  # a list of text

    asked = run_here("incidents", "list", "--data", data, cwd=tmp_path)
    elsewhere = run_here("incidents", "list", "--data", data, "--url", "http://127.0.0.1:1", cwd=tmp_path)

    assert (asked.returncode, asked.stderr) == (0, "")
    assert elsewhere.returncode == 3
    assert f"which answers at {up.url}:" in elsewhere.stderr


def test_a_second_server_on_the_same_folder_is_told_who_has_it(up: Up, tmp_path: Path) -> None:
    data = str(up.process.args[up.process.args.index("--data") + 1])  # type: ignore[index, union-attr, arg-type]  # a list of text

    found = run("up", "--data", data, "--port", "0", cwd=tmp_path)

    assert found.returncode == 3
    assert f"is used by process {up.process.pid}" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_token_is_asked_for_by_its_names_and_a_wrong_one_is_told_as_such(of_tenants: Up, tmp_path: Path) -> None:
    url, file = of_tenants.url, tmp_path / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")

    asked = [
        run_here(*command, "--url", url, cwd=tmp_path)
        for command in (("rules", "apply", str(file)), ("metrics", "runs"), ("metrics", "runs", "--token", "x"))
    ]
    refused = run_here("rules", "apply", str(file), "--url", url, "--token", "acme-token", cwd=tmp_path)

    remedy = "set FLOWGAUGE_TOKEN, or give --token\n"
    assert [each.returncode for each in (*asked, refused)] == [2] * 4
    assert [each.stderr for each in asked] == [
        f"flowgauge: {url} asks for a tenant's token: {remedy}",
        f"flowgauge: {url} asks for a tenant's token: {remedy}",
        f"flowgauge: {url} does not know this token: {remedy}",
    ]
    assert "send a token of the tenant that `operator` names" in refused.stderr
    assert "TOKEN" not in refused.stderr


@pytest.mark.parametrize("url", ["http://[::", "http://a b", "127.0.0.1:4280", "ftp://x", "http://x:port"])
@pytest.mark.parametrize(
    "command", [("metrics", "runs"), ("incidents", "list"), ("rules", "apply", __file__), ("publish",)], ids=" ".join
)
def test_an_address_that_nobody_can_ask_is_bad_usage(url: str, command: tuple[str, ...]) -> None:
    found = CliRunner().invoke(flowgauge, [*command, "--url", url])

    assert found.exit_code == 2
    assert "expected a server's address such as http://127.0.0.1:4280, got" in found.output


def test_a_server_that_is_not_flowgauge_is_told(tmp_path: Path) -> None:
    with http_server(b"<html>hello</html>") as url:
        found = run_here("metrics", "runs", "--url", url, cwd=tmp_path)

    assert (found.returncode, found.stderr) == (
        3,
        f"flowgauge: {url} answered HTTP 200 and no JSON: is flowgauge there? (set FLOWGAUGE_URL)\n",
    )


@pytest.mark.parametrize("name", ["a\udcff.yaml", "a\n.yaml", "x" * 201 + ".yaml"])
def test_a_rule_file_of_an_odd_name_is_bad_input(up: Up, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(RULES, encoding="utf-8")

    found = run_here("rules", "apply", str(file), "--url", up.url, cwd=tmp_path)

    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "is no name of a rule file: expected NAME.yaml" in found.stderr


def test_a_rule_file_of_an_odd_name_is_refused_by_the_server_too(up: Up) -> None:
    answers = [up.http.post("/v1/rules", json={"files": {name: RULES}}) for name in ("a\0.yaml", "../a.yaml", "")]

    assert [answer.status_code for answer in answers] == [400] * 3


def test_an_open_host_without_tokens_is_refused(tmp_path: Path) -> None:
    found = run("up", "--data", str(tmp_path / "data"), "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)

    assert found.returncode == 2
    assert "no tokens are configured" in found.stderr
    assert not (tmp_path / "data").exists()


def test_broken_rules_at_the_start_are_told_by_place_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text("rules:\n  - name: x\n    wen: {}\n", encoding="utf-8")

    found = run("up", "--data", str(tmp_path / "data"), "--port", "0", "--rules", str(tmp_path / "rules"), cwd=tmp_path)

    assert found.returncode == 2
    assert "a.yaml:3:" in found.stderr
    assert "did you mean `when`?" in found.stderr


def test_sigterm_ends_it_in_order_and_the_folder_answers_afterwards(ended: tuple[Path, str], tmp_path: Path) -> None:
    data, url = ended

    found = run("metrics", "runs", "--format", "json", "--url", url, "--data", str(data), cwd=tmp_path)

    assert (found.returncode, found.stderr) == (0, f"no server runs: tenant default is read from {data}\n")
    assert [row["flow"] for row in json.loads(found.stdout)["rows"]] == ["etl"]

    found = run("metrics", "patterns", "--url", url, "--data", str(data), cwd=tmp_path)

    assert (found.returncode, found.stderr) == (0, f"no server runs: tenant default is read from {data}\n")
    assert found.stdout.endswith("stands out beyond chance.\n")

    found = run("metrics", "runs", "--tenant", "acmee", "--token", "x", "--url", url, "--data", str(data), cwd=tmp_path)

    assert (found.returncode, found.stdout) == (0, "nothing found\n")
    assert found.stderr.splitlines() == [
        f"no server runs: tenant acmee is read from {data}",
        "nothing is known of tenant acmee: no table has a row of it",
    ]


def test_without_a_server_a_token_is_nobodys_and_nothing_is_erased(tmp_path: Path) -> None:
    """It would be answered of the tenant `default`, as if that were the token's."""
    (tmp_path / ".flowgauge" / "clickhouse").mkdir(parents=True)
    nobody = ("--url", "http://127.0.0.1:1")

    given = run_here("metrics", "runs", *nobody, "--token", "acme-token", cwd=tmp_path)
    from_environment = run_here("dlq", *nobody, env={"FLOWGAUGE_TOKEN": "acme-token"}, cwd=tmp_path)
    erased = run_here("tenant", "erase", "acme", "--yes", *nobody, cwd=tmp_path)

    for refused in (given, from_environment):
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "nobody can tell whose this token is: start it, or say with --tenant whose data" in refused.stderr
    assert (erased.returncode, erased.stdout) == (3, "")
    assert "and this needs one: start it with `flowgauge up`, or say where it is with --url" in erased.stderr


def test_without_server_and_folder_a_question_ends_with_3_and_the_remedy(tmp_path: Path) -> None:
    found = run_here("metrics", "runs", "--url", "http://127.0.0.1:1", "--data", str(tmp_path / "none"), cwd=tmp_path)

    assert found.returncode == 3
    assert "there is no folder" in found.stderr
    assert "start one with `flowgauge up`" in found.stderr


def test_rules_apply_into_a_folder_where_no_server_has_run_says_so(tmp_path: Path) -> None:
    (tmp_path / ".flowgauge").mkdir()
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")

    found = run_here("rules", "apply", "rules.yaml", "--url", "http://127.0.0.1:1", cwd=tmp_path)

    assert found.returncode == 3
    assert "no server has run yet in .flowgauge: start one with `flowgauge up`" in found.stderr


def test_with_tokens_each_tenant_sees_its_own_and_nobody_else_anything(of_tenants: Up) -> None:
    up = of_tenants
    acme, other = {"authorization": "Bearer acme-token"}, {"authorization": "Bearer other-token"}
    assert publish(up, event("secret-flow", "failed"), headers=acme).status_code == 200

    def runs(headers: dict[str, str], **parameters: str) -> list[str]:
        answer = up.http.get("/v1/metrics/runs", headers=headers, params=parameters)
        return [row["flow"] for row in answer.json()["rows"]]

    wait_for(lambda: runs(acme), "the run")
    assert runs(acme) == ["secret-flow"]
    assert (runs(other), runs(acme, tenant="acme")) == ([], ["secret-flow"])
    for path in ("/", "/v1/metrics/runs", "/v1/incidents", "/v1/health"):
        refused = up.http.get(path, headers=other, params={"tenant": "acme"})
        assert (refused.status_code, "secret-flow" in refused.text) == (400, False)
        assert "this token is of tenant other" in refused.text
    assert [up.http.get(path).status_code for path in ("/", "/v1/health", "/metrics", "/v1/incidents")] == [401] * 4
    assert up.http.get("/", headers={"authorization": "Basic garbage"}).status_code == 401
    assert up.http.get("/healthz").status_code == 200
    page = up.http.get("/", auth=httpx2.BasicAuth("me", "acme-token"))
    assert (page.status_code, "tenant <strong>acme</strong>" in page.text) == (200, True)
    assert up.http.post("/v1/rules", json={"files": {}}, headers=acme).status_code == 403


def test_a_broken_rule_file_never_replaces_a_good_set(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    file = rules / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")
    with running_up(tmp_path / "data", "--rules", str(rules)) as up:
        wait_for(lambda: up.get("/v1/health")["rules_version"] == 1, "the first rules")

        file.write_text("rules:\n  - name: broken\n    when: {failure_rate: {above: 200%}}\n", encoding="utf-8")
        problem = wait_for(lambda: up.get("/v1/health")["problems"].get("rules"), "the problem")
        assert "rules.yaml:3:" in problem
        assert up.get("/v1/health")["rules_version"] == 1
        assert "the rules before it go on" in up.http.get("/").text

        file.write_text(FAILING, encoding="utf-8")
        wait_for(lambda: up.get("/v1/health")["rules_version"] == 2, "the mended rules")
        assert up.get("/v1/health")["problems"] == {}


def test_rules_that_are_applied_find_a_live_incident(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "failing.yaml"
    file.write_text(FAILING, encoding="utf-8")

    applied = run_here("rules", "apply", str(file), "--url", up.url, cwd=tmp_path)

    assert (applied.returncode, applied.stderr) == (0, "")
    assert applied.stdout.endswith("is in force: 1 rule and 0 channels\n")
    wait_for(lambda: up.get("/v1/health")["rules_version"] >= 2, "the new rules")
    publish(up, *[event("orders", "failed") for _ in range(4)])
    (incident,) = wait_for(
        lambda: [row for row in up.rows("/v1/incidents") if row["rule"] == "all failing"], "the incident"
    )
    assert (incident["key"], incident["value"]) == ({"flow": "orders"}, 1.0)
    assert incident["incident_id"] in up.http.get("/").text
    assert "all failing" in up.http.get(f"/incidents/{incident['incident_id']}").text
    shown = run_here("incidents", "show", incident["incident_id"][:8], "--url", up.url, cwd=tmp_path)
    assert "failure rate above threshold" in shown.stdout

    publish(up, event("orders", "failed", occurred=rfc3339(now_ms() - 60 * 60_000)))
    late = wait_for(lambda: up.get("/v1/health")["left_out"]["late"]["samples"], "the late sample")
    assert (late, up.get("/v1/health")["left_out"]["late"]["rules"]) == (1, ["all failing"])
    assert "came later than their rule allows" in up.http.get("/").text


def test_what_people_do_about_an_incident_is_kept_and_told_without_a_server_too(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yaml").write_text(FAILING, encoding="utf-8")
    data = tmp_path / "data"
    with running_up(data, "--rules", str(tmp_path / "rules")) as up:
        publish(up, *[event("orders", "failed") for _ in range(4)])
        (incident,) = wait_for(lambda: up.rows("/v1/incidents"), "the incident")
        begins = incident["incident_id"][:8]

        def act(*arguments: str) -> subprocess.CompletedProcess[str]:
            return run_here("incidents", *arguments, "--url", up.url, cwd=tmp_path)

        done = act("ack", begins, "--as", "ann")
        by_default = act("note", begins, "--text", "the disk\nis full")
        none = act("ack", begins, "0" * 32, "--as", "ann")
        wrong = act("merge", begins, "--into", begins, "--as", "ann")
    shown = run("incidents", "show", begins, "--data", str(data), cwd=tmp_path)
    listed = run("incidents", "list", "--data", str(data), cwd=tmp_path)
    away = run_here("incidents", "ack", begins, "--data", str(data), cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, f"{incident['incident_id']}  ann acknowledged it\n")
    assert (by_default.returncode, by_default.stdout.endswith(f"{getuser()} noted: the disk is full\n")) == (0, True)
    assert (none.returncode, none.stdout.count("\n"), none.stderr.count("\n")) == (1, 1, 1)
    assert (wrong.returncode, wrong.stderr) == (2, "flowgauge: into: an incident cannot be part of itself\n")
    assert "\nacknowledged by ann\n" in shown.stdout
    assert "What people did\n" in shown.stdout
    assert "acknowledged by ann" in listed.stdout
    assert (away.returncode, "no flowgauge server answers" in away.stderr) == (3, True)


def test_rules_apply_tells_of_a_secret_that_the_server_lacks_and_refuses_a_channel_that_is_not_there(
    up: Up, tmp_path: Path
) -> None:
    file = tmp_path / "told.yaml"
    file.write_text(TOLD, encoding="utf-8")
    applied = run_here("rules", "apply", str(file), "--url", up.url, cwd=tmp_path, env={"ONLY_HERE": "x"})
    problem = up.get("/v1/health")["problems"].get("notify")
    file.write_text(TOLD.replace("notify: [ops]", "notify: [oops]"), encoding="utf-8")
    refused = run_here("rules", "apply", str(file), "--url", up.url, cwd=tmp_path)

    warning = "environment variable ONLY_HERE is not set or empty (set it where flowgauge is started)"
    assert applied.returncode == 0
    assert applied.stderr == f"warning: told.yaml:4:59: channels[0].webhook.secret: {warning}\n"
    assert problem.endswith(applied.stderr.removeprefix("warning: ").rstrip("\n"))
    assert (refused.returncode, refused.stderr) == (
        2,
        f"{file}:2:67: rules[0].notify[0]: no channel is called 'oops': nobody would be told (did you mean 'ops'?)\n",
    )


def test_up_says_where_everything_is_and_what_to_mend(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (tmp_path / "flowgauge.toml").write_text('log_level = "error"\n', encoding="utf-8")
    (rules / "told.yaml").write_text(TOLD, encoding="utf-8")
    with running_up(tmp_path / "data", "--rules", "rules") as up:
        assert up.process.stdout is not None
        said = [up.process.stdout.readline().rstrip() for _ in range(4)]

    place = "rules/told.yaml:4:59: channels[0].webhook.secret"
    assert said == [
        "  settings  flowgauge.toml",
        f"  data      {tmp_path / 'data'}",
        "  rules     1 rule and 1 channel from rules",
        f"  warning   {place}: environment variable ONLY_HERE is not set or empty (set it where flowgauge is started)",
    ]


def test_up_without_rules_says_so_with_the_remedy(up: Up) -> None:
    assert up.process.stdout is not None

    said = [up.process.stdout.readline().rstrip() for _ in range(3)]

    assert said[0] == "  settings  defaults: no flowgauge.toml here"
    assert said[2].endswith("rules, so nobody is told of anything: put some in force with `flowgauge rules apply FILE`")


def test_rules_apply_without_a_server_goes_into_the_folder(ended: tuple[Path, str], tmp_path: Path) -> None:
    data, _ = ended
    file = tmp_path / "failing.yaml"
    file.write_text(FAILING, encoding="utf-8")

    applied = run("rules", "apply", str(file), "--url", "http://127.0.0.1:1", "--data", str(data), cwd=tmp_path)

    assert (applied.returncode, applied.stdout) == (0, "rule set 2 is in force: 1 rule and 0 channels\n")
    with running_up(data) as up:
        wait_for(lambda: up.get("/v1/health")["rules_version"] == 2, "the applied rules")


def test_lines_published_from_standard_input_reach_the_gateway(up: Up, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(event("piped", "completed")) for _ in range(3))
    found = subprocess.run(
        [*COMMAND, "publish", "--url", up.url],
        input=lines,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )

    assert (found.returncode, found.stdout) == (0, "3 events: 3 sent, 0 refused\n")
