"""The documents are true: commands run, programs publish, files are valid. tests/unit/test_links.py has their links.

Every `sh` block runs in a folder of its own, with the files that it names, against one `flowgauge up`. What cannot run
here stands in ELSEWHERE with the reason; a command that is neither known nor there fails.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
import yaml
from tests.integration.commands_here import run_here
from tests.integration.fenced_blocks import DOCUMENTS, ROOT, Block, blocks, commands, prose
from tests.integration.up_process import RULES, Up, end, environment, running_up, wait_for

from flowgauge.console.main import flowgauge
from flowgauge.schemas.hook_file import parse_hooks
from flowgauge.schemas.rule import TOP_LEVEL
from flowgauge.schemas.settings import parse_settings
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.sinks.clickhouse.prices import parse_prices
from flowgauge.transport.wall_clock import now_ms

ELSEWHERE = {
    "make demo": "minutes with live workers; test_demo.py runs `flowgauge demo --once`, all that it does",
    "make test": "is what runs this test",
    "make bench": "measures for minutes, and only an idle machine has something to say",
    "pip install flowgauge": "asks an index; .ci/peer prefect makes that light install from this checkout",
    "pip install 'flowgauge[kafka]'": "as the line above; .ci/peer prefect installs what that extra asks for",
    "pip install flowgauge prefect-redis": "as the line above; .ci/peer prefect installs that too",
    "flowgauge webhooks listen": "runs until it is ended; test_webhook_example.py runs the whole example around it",
    """echo '{"event": "try.it", "resource": {"id": "me"}}' | flowgauge publish""": "as the line above",
    "flowgauge dlq show 0@12 > event.json": "names a letter that a server has; test_dlq.py shows one",
    "flowgauge channels test data-oncall --rules rules/": "needs a service; test_channel_trial.py tries every kind",
    **dict.fromkeys(
        ("flowgauge deliveries show 4f1c2a", "flowgauge deliveries replay 4f1c2a --as ann"),
        "names a delivery that a server has; test_deliveries_up.py has one sent again",
    ),
    **dict.fromkeys(
        (
            "docker compose --file compose/compose.yaml up --detach --wait",
            "docker compose --file compose/compose.yaml run --rm rules",
            "docker compose --file compose/compose.yaml logs receiver",
            "docker build --file compose/Dockerfile --tag flowgauge:0.1.0 .",
        ),
        "needs a Docker engine; test_compose_up.py does it where one answers, test_compose_processes.py without",
    ),
    "flowgauge cloudevents --from shop-events --tenant acme": "needs brokers; test_cloudevents_kafka.py runs it",
    'compose/secrets/make "$SECRETS_FOLDER"': "names a file of the checkout; test_image.py runs it",
    **dict.fromkeys(
        (
            "kubectl create namespace flowgauge",
            'kubectl --namespace flowgauge create secret generic flowgauge --from-file="$SECRETS_FOLDER"',
            "kubectl --namespace flowgauge apply --filename compose/kubernetes/",
        ),
        "needs a cluster; test_kubernetes.py checks what is applied",
    ),
    **dict.fromkeys(
        ("flowgauge prefect bridge --state /var/lib/flowgauge-bridge", "flowgauge import prefect --since 30d --logs"),
        "needs a Prefect server; test_prefect_bridge.py runs both against one",
    ),
    "prefect server start": "test_prefect_server.py starts one with this block's variables",
    "prefect server start --no-services": "test_prefect_redis.py starts one with this block's variables",
}
PROGRAMS = {"flowgauge", "curl", "echo", "export", "sed"}
QUESTIONS = ("flowgauge metrics ", "flowgauge incidents list", "flowgauge replay ")  # what they ask for is recorded
# What a Python block holds that another test runs: test_kafka_publisher.py, test_openlineage.py, test_prefect_clients.
RUN_ELSEWHERE = ("KafkaTarget(", "from openlineage.client import", "from prefect.events import")
# What they say runs in test_topics.py, test_roles.py and test_faust.py.
NEED_BROKERS = [ROOT / "docs" / name for name in ("kafka.md", "roles.md", "faust.md")]
# Programs of other projects' processes; test_airflow.py and test_dagster.py run them there.
IN_OTHERS = [ROOT / "docs" / name for name in ("connect-airflow.md", "connect-dagster.md")]
# Commands that ask a server, send it no events, or read files, with no word that a shell would change.
# Others run as in a shell.
PLAIN = re.compile(
    r"flowgauge (?!dlq retry)(metrics|incidents|deliveries|dlq|silences|channels|actions|replay|tenant|rules)"
    r"( '[^']*'| \"[^\"$\\`]*\"| [\w./:,=@!-]+)*"
)
LANGUAGES = {"", "http", "json", "python", "sh", "toml", "yaml"}

URL_DEFAULT = "http://127.0.0.1:4280"  # as the documents write it; the test's server has another port
CAPTURE = ROOT / "tests" / "data" / "prefect-outage-extract.jsonl.gz"
AUTOMATIONS = ROOT / "tests" / "data" / "prefect-automations.json"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # of no receiver
BEFORE_PYTHON = """
from datetime import UTC, datetime

slot = datetime.now(UTC)


def extract():
    pass


"""
AFTER_PYTHON = """
assert publisher.flush(), "not sent in time"
assert publisher.sent and not publisher.refused + publisher.dropped, (publisher.refused, publisher.dropped)
"""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def of_language(language: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document, language)]


def is_story(block: Block) -> bool:
    """Tell a test of rules, which a shell block runs, from rules."""
    return "expect" in yaml.safe_load(block.text)


NOBODY = """
routes: [{name: all, match: {rule: "*"}, notify: [nobody]}]
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a server that holds the recorded outage, as if it ended now, and has nobody to tell."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "rules").mkdir()
    (folder / "rules" / "rules.yaml").write_text(RULES + NOBODY, encoding="utf-8")
    (folder / "hooks.yaml").write_text(documented_hooks(), encoding="utf-8")
    env = {"FLOWGAUGE_HOOKS": "hooks.yaml", **dict.fromkeys(re.findall(r"\w+_WEBHOOK_\w+", documented_hooks()), SECRET)}
    loaded = ("--rules", "rules", "--load", str(CAPTURE), "--shift-to-now")
    with running_up(folder / "data", *loaded, env=env) as running:
        wait_for(lambda: not running.get("/v1/health")["loading"], "the history")
        wait_for(lambda: running.rows("/v1/incidents"), "an incident")
        wait_for(lambda: running.rows("/v1/deliveries"), "a delivery")
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that commands name; rules.yaml is the README's own."""
    (rules,) = blocks(ROOT / "README.md", "yaml")
    (tmp_path / "rules").mkdir()
    for file in (tmp_path / "rules.yaml", tmp_path / "rules" / "rules.yaml"):
        file.write_text(rules.text, encoding="utf-8")
    (story,) = (block for block in blocks(ROOT / "docs" / "replay.md", "yaml") if is_story(block))
    (actions,) = blocks(ROOT / "docs" / "actions.md", "yaml")
    (tmp_path / "actions.yaml").write_text(actions.text, encoding="utf-8")
    (tmp_path / "story.yaml").write_text(story.text, encoding="utf-8")
    for file in (CAPTURE, AUTOMATIONS):
        recorded = tmp_path / file.relative_to(ROOT)  # as in a checkout
        recorded.parent.mkdir(parents=True, exist_ok=True)
        recorded.write_bytes(file.read_bytes())
    event = {"occurred": rfc3339(now_ms()), "event": "asset.materialized", "resource": {"id": "s3://lake/orders"}}
    lines = [json.dumps({"id": f"018f3c2e-7b1a-7c3d-8e4f-00000000000{number}", **event}) for number in range(3)]
    (tmp_path / "events.ndjson").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "run.json").write_text(json.dumps(documented_run()), encoding="utf-8")
    (tmp_path / "hooks.yaml").write_text(documented_hooks(), encoding="utf-8")
    body = ROOT / "tests" / "data" / "webhooks" / "github-workflow_run.json"
    (tmp_path / "workflow_run.json").write_bytes(body.read_bytes())
    (tmp_path / "cloudevents.json").write_text(documented_cloudevents(), encoding="utf-8")
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n", encoding="utf-8")
    return tmp_path


def documented_hooks() -> str:
    (block,) = blocks(ROOT / "docs" / "connect-webhooks.md", "yaml")
    return block.text


@cache
def documented_run() -> list[dict[str, Any]]:
    """Return the events of the guide's run, as if it ended a minute ago. Sent again they are the same."""
    (text,) = (block.text for block in blocks(ROOT / "docs" / "publish.md", "json") if block.text.startswith("["))
    shift_ms = now_ms() - 60_000 - parse_time_ms(json.loads(text)[-1]["occurred"])
    moved = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", lambda time: rfc3339(parse_time_ms(time[0]) + shift_ms), text)
    events: list[dict[str, Any]] = json.loads(moved)
    return events


def documented_cloudevents() -> str:
    """Return the batch of the guide, as if it came about now."""
    (text,) = (block.text for block in blocks(ROOT / "docs" / "connect-cloudevents.md", "json"))
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", rfc3339(now_ms()), text)


def variables(folder: Path, url: str) -> dict[str, str]:
    return environment(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        HOME=str(folder),
        FLOWGAUGE_URL=url,
        FLOWGAUGE_TOKEN="one that a server without tenants does not ask for",
        ONCALL_SECRET=SECRET,
    )


@pytest.mark.parametrize("block", [block for block in of_language("sh") if block.document not in NEED_BROKERS], ids=str)
def test_the_commands_of_a_shell_block_run(block: Block, up: Up, folder: Path) -> None:
    env = variables(folder, up.url)
    for command in commands(block):
        assert command in ELSEWHERE or command.split()[0] in PROGRAMS, f"{block}: how is this tested: {command}"
        if command in ELSEWHERE:
            continue
        if command.startswith("export "):
            name = command.removeprefix("export ").partition("=")[0]
            env[name] = run_in_shell(f'{command}\nprintf %s "${name}"', folder, env)
        elif command.startswith("flowgauge up"):
            answer_and_end(command, folder, env)
        else:
            script = command.replace(URL_DEFAULT, up.url)
            said = run_in_shell(script, folder, env)
            if command.startswith(QUESTIONS) and not has_rows(said):  # what a line before sent is stored in a moment
                said = wait_for(partial(found, script, folder, env), f"rows of {command}")
            are_counted = command.endswith("/v1/events") or "@cloudevents.json" in command
            assert not are_counted or json.loads(said)["rejected"] == 0, said


def found(script: str, folder: Path, env: dict[str, str]) -> str:
    """Return what a question answers that finds something, else nothing."""
    said = run_in_shell(script, folder, env)
    return said if has_rows(said) else ""


def has_rows(answer: str) -> bool:
    """Tell whether an answer, as JSON or as a table with two lines of header, has rows."""
    return bool(json.loads(answer)["rows"]) if answer.startswith("{") else len(answer.splitlines()) > 2


def run_in_shell(script: str, folder: Path, env: dict[str, str]) -> str:
    """Run lines to their end; return what they print. One that means the same without a shell needs no process."""
    plain = re.sub(r'"\$(\w+)"', lambda named: shlex.quote(env.get(named[1], "")), script)
    if PLAIN.fullmatch(plain):
        own = {name: value for name, value in env.items() if os.environ.get(name) != value}
        done = run_here(*shlex.split(plain)[1:], env=own, cwd=folder)
    else:
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def answer_and_end(command: str, folder: Path, env: dict[str, str]) -> None:
    """Start a server on a free port, ask for its console, and end it as a service manager does."""
    with (folder / "server.err").open("w") as errors:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command} --port 0"],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url, (folder / "server.err").read_text()
        status = httpx2.get(url[0], timeout=60, trust_env=False).status_code
    finally:
        code = end(process)
    assert (status, code) == (200, 0), (folder / "server.err").read_text()


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in of_language("python")
        if block.document not in [*NEED_BROKERS, *IN_OTHERS] and not any(words in block.text for words in RUN_ELSEWHERE)
    ],
    ids=str,
)
def test_a_python_block_publishes_and_all_of_it_is_accepted(block: Block, up: Up, folder: Path) -> None:
    (folder / "block.py").write_text(BEFORE_PYTHON + block.text + AFTER_PYTHON, encoding="utf-8")

    run_in_shell("python -W error block.py", folder, variables(folder, up.url))


@pytest.mark.parametrize("block", [block for block in of_language("yaml") if not is_story(block)], ids=str)
def test_rules_channels_prices_and_hooks_in_a_document_are_valid(block: Block, folder: Path) -> None:
    for word, parse in {"prices": parse_prices, "hooks": parse_hooks}.items():
        if word in yaml.safe_load(block.text):
            parse(str(block), block.text)
            return
    assert set(yaml.safe_load(block.text)) <= set(TOP_LEVEL)
    (folder / "block.yaml").write_text(block.text, encoding="utf-8")

    run_in_shell("flowgauge rules validate block.yaml", folder, variables(folder, URL_DEFAULT))


def test_settings_and_json_in_a_document_can_be_read() -> None:
    for block in of_language("toml"):
        parse_settings(block.text, str(block), {}, {})
    for block in of_language("json"):
        json.loads(block.text)


def test_the_run_of_the_guide_is_one_to_every_question(up: Up) -> None:
    events = documented_run()
    up.http.post("/v1/events", json=events).raise_for_status()
    wait_for(lambda: up.rows("/v1/metrics/timeline", run="nightly-orders-42")[len(events) - 1 :], "all of the run")

    def one(name: str, **asked: str) -> dict[str, Any]:
        (row,) = up.rows(f"/v1/metrics/{name}", flow="nightly-orders", **asked)
        return row

    run = one("runs")
    assert (run["state"], run["seconds"], run["attempts"]) == ("completed", 60.0, 1)
    assert run["scheduled_for"] == events[0]["scheduled_for"].replace("Z", "000Z")
    assert one("lateness", per="deployment")["late_p50_seconds"] == one("lateness")["wait_p50_seconds"] == 7.0
    assert (one("adherence", per="work_pool")["work_pool"], one("adherence")["on_time"]) == ("k8s", 1)
    assert {row["tag"] for row in up.rows("/v1/metrics/durations", flow="nightly-orders", per="tag")} == {
        "orders",
        "eu",
    }
    cost = one("costs", per="team")
    assert (cost["team"], cost["cost"], cost["currency"], cost["rows"]) == ("sales", 0.31, "EUR", 4200)
    (line,) = up.rows("/v1/metrics/logs", run="nightly-orders-42")
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "extract", "orders-db answers slowly")


def test_the_documented_message_has_the_fields_of_one_that_is_sent() -> None:
    (documented,) = (json.loads(block.text) for block in blocks(ROOT / "docs" / "webhooks.md", "json"))
    sent = json.loads((ROOT / "tests" / "golden" / "webhook" / "firing.json").read_text(encoding="utf-8"))

    assert set(documented) == set(sent)
    assert set(documented["data"]) == set(sent["data"])


def test_no_block_hides_commands_from_these_tests() -> None:
    for block in of_language(""):
        assert not re.search(r"^\s*(\$ )?(flowgauge|curl|make|pip|prefect|export) ", block.text, re.MULTILINE), block
    languages = {block.language for document in DOCUMENTS for block in blocks(document)}
    assert languages <= LANGUAGES


def test_the_documented_paths_answer(up: Up) -> None:
    (incident, *_), (delivery, *_) = up.rows("/v1/incidents"), up.rows("/v1/deliveries")
    paths = {path for document in DOCUMENTS for path in re.findall(r"`GET (/[^`]+)`", prose(document))}

    assert len(paths) >= 6
    for path in sorted(paths):
        known = delivery["delivery_id"] if "/deliveries/" in path else incident["incident_id"]
        asked = path.replace("NAME", "runs").replace("ID", known).replace("…", "orders-sync")
        assert up.http.get(asked).status_code == 200, path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_commands_that_the_prose_names_exist(document: Path) -> None:
    for named in re.findall(r"`flowgauge ([a-z][^`]*)`", prose(document)):
        assert find_command(named.split()), f"flowgauge {named}"


def find_command(words: list[str]) -> click.Command | None:
    """Return the command that `words` name, options and arguments after it aside, or None."""
    command: click.Command | None = flowgauge
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
    return command
