"""What compose.yaml starts, as processes here: its commands, variables, settings, rules, secrets and health checks.

Kafka is a real broker and ClickHouse its stand-in; addresses and folders are replaced, ports are free ones, and all
else is as in the file. The processes run on what the image installs: the packages of compose/image and the wheel.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests.clickhouse_front import Front
from tests.compose.composed import COMPOSE, ROOT, Places, read_compose
from tests.compose.role_commands import PORTS, needs_roles
from tests.compose.test_measurements import MEASUREMENT, QUESTIONS

WAIT_S = 120.0  # fifteen processes start on two cores that others use too
POLL_S = 0.2
CHECK_S = 1.0  # a health check is a process too
END_S = 30.0
FILES = read_compose()
UV = Path(sys.executable).parent / "uv"
FLOW = "nightly"
RUNS = 8
RULES = {"flow crashed", "flow failing"}  # of the example, that crashed runs break

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), needs_roles]


@dataclass(slots=True)
class Running:
    """A service that runs; `url` is where it says it is."""

    name: str
    process: "subprocess.Popen[str]"
    folder: Path
    url: str = ""

    def output(self) -> str:
        """Return all that it wrote."""
        return "".join(file.read_text(encoding="utf-8") for file in sorted(self.folder.glob(f"{self.name}.*")))


@dataclass(frozen=True, slots=True)
class Stack:
    """All services of the file that run our image, on one broker and one database."""

    services: Mapping[str, Running]
    told: Mapping[str, str]  # what the services that run once printed
    places: Places
    front: Front

    def get(self, name: str, path: str) -> httpx2.Response:
        """Ask a service as Prometheus does: with the operator's token."""
        token = (self.places.folder / "secrets" / "operator-token").read_text(encoding="utf-8").strip()
        return httpx2.get(
            self.services[name].url + path,
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=WAIT_S,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the commands that the image would have, made as compose/Dockerfile makes it."""
    venv = tmp_path_factory.mktemp("image")
    packages = ran(sys.executable, "compose/image/pick.py", "requirements.lock", "compose/image/packages.txt")
    (venv / "packages.lock").write_text(packages, encoding="utf-8")
    ran(sys.executable, "-m", "venv", "--without-pip", str(venv / "flowgauge"))
    python = str(venv / "flowgauge" / "bin" / "python")
    ran(str(UV), "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(venv / "packages.lock"))
    ran(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(venv / "wheel"))
    (wheel,) = (venv / "wheel").glob("*.whl")
    ran(str(UV), "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-index", str(wheel))
    ran(str(UV), "pip", "check", "--quiet", "--python", python)
    return venv / "flowgauge" / "bin"


def ran(*command: str) -> str:
    """Run a command at the root of the repository; return what it prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def stack(kafka: str, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the whole file, in the order that it asks for."""
    folder = tmp_path_factory.mktemp("compose")
    with Front(folder / "clickhouse") as front:
        services: dict[str, Running] = {}
        try:
            receiver_port = start_receiver(services, image, folder)
            places = places_of(folder, kafka, front, receiver_port)
            places.settle()
            (folder / "secrets" / "clickhouse-password").write_text(Front.password, encoding="utf-8")
            told = {name: run_once(name, image, places) for name in FILES.once}
            for name in FILES.ours:
                if name not in FILES.once and name != "receiver":
                    services[name] = start(name, image, places)
            for each in services.values():
                wait_until_up(each)
            yield Stack(services, told, places, front)
        finally:
            end_all(list(services.values()))


def start_receiver(services: dict[str, Running], image: Path, folder: Path) -> str:
    """Start whoever is on call; its address goes into the rules of the others."""
    places = Places(folder / "oncall", {"0.0.0.0": "127.0.0.1"})
    places.settle()
    services["receiver"] = start("receiver", image, places, "--port", "0")
    wait_until_up(services["receiver"])
    return services["receiver"].url.rpartition(":")[2].partition("/")[0]


def places_of(folder: Path, kafka: str, front: Front, receiver_port: str) -> Places:
    """Return where everything is here; the log has a name of its own on the shared broker."""
    prefix = f"compose-{uuid.uuid4().hex[:8]}"
    return Places(
        folder,
        {
            "kafka:9092": kafka,
            "http://clickhouse:8123": front.url,
            "receiver:4281": f"127.0.0.1:{receiver_port}",
            "0.0.0.0": "127.0.0.1",
            "[kafka]\n": f'[kafka]\nprefix = "{prefix}"\n',
            'user = "flowgauge"': f'user = "{Front.user}"',
        },
    )


def variables(env: Mapping[str, str], image: Path) -> dict[str, str]:
    """Return the variables of a process: nothing of ours but what the file says, as in a container."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOWGAUGE_")},
        "PATH": f"{image}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        **env,
    }


def run_once(name: str, image: Path, places: Places) -> str:
    """Run a service that ends by itself; return what it printed."""
    process = FILES.process(name, places)
    done = subprocess.run(
        ["flowgauge", *process.arguments],
        env=variables(process.env, image),
        cwd=process.folder,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        executable=image / "flowgauge",
    )
    assert done.returncode == 0, f"{name}\n{done.stdout}{done.stderr}"
    return done.stdout


def start(name: str, image: Path, places: Places, *more: str) -> Running:
    """Start a service that stays, on a free port."""
    free_port = {} if name == "receiver" else {"FLOWGAUGE_PORT": "0"}
    process = FILES.process(name, places, **free_port)
    with (places.folder / f"{name}.out").open("w") as out, (places.folder / f"{name}.err").open("w") as err:
        popen = subprocess.Popen(
            ["flowgauge", *process.arguments, *more],
            env=variables(process.env, image),
            cwd=process.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            executable=image / "flowgauge",
        )
    return Running(name, popen, places.folder)


def wait_until_up(each: Running) -> None:
    """Wait until a service says where it is, and its health check is content."""
    deadline = time.monotonic() + WAIT_S
    while not each.url:
        found = re.search(r"http://127\.0\.0\.1:\d+", each.output())
        each.url = found[0] if found else ""
        failed = each.process.poll() is not None or time.monotonic() > deadline
        assert not failed or each.url, f"{each.name}\n{each.output()}"
        time.sleep(POLL_S)
    check = ""
    while each.name != "receiver" and each.process.poll() is None and time.monotonic() < deadline:
        code, check = health_check(each)
        if code == 0:
            return
        time.sleep(CHECK_S)
    assert each.name == "receiver", f"{each.name} is not ready: {check}\n{each.output()}"


def health_check(each: Running) -> tuple[int, str]:
    """Do what the health check of the service does, at the port that it has here."""
    arguments: list[str] = FILES.services[each.name]["healthcheck"]["test"][2:]  # CMD and python aside
    role = FILES.services[each.name]["command"][0]
    here: dict[str, str] = {
        "/opt/flowgauge/ready.py": str(COMPOSE / "image" / "ready.py"),
        f"http://127.0.0.1:{PORTS[role]}/readyz": f"{each.url}/readyz",
    }
    done = subprocess.run(
        [sys.executable, *(here.get(word, word) for word in arguments)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def end_all(running: Sequence[Running]) -> list[int]:
    """End processes as Compose does: a signal to all, then patience; return their exit codes."""
    for each in running:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
    codes: list[int] = []
    for each in running:
        try:
            codes.append(each.process.wait(END_S))
        except subprocess.TimeoutExpired:
            each.process.kill()
            codes.append(each.process.wait())
    return codes


def messages(stack: Stack) -> int:
    """Return how many different messages came to whoever is on call, signed with the secret of the file."""
    firing = re.findall(r"^(\w+) incident\.firing .* verified$", stack.services["receiver"].output(), re.MULTILINE)
    return len(set(firing))


def crashed_run(number: int) -> str:
    event = {
        "event": "run.crashed",
        "kind": "flow-run",
        "flow": FLOW,
        "run": f"{FLOW}-{number}",
        "state": "crashed",
        "resource": {"id": f"run/{FLOW}-{number}"},
    }
    return json.dumps(event)


def test_the_services_that_run_once_say_what_they_did(stack: Stack) -> None:
    assert "is in force" in stack.told["rules"]
    assert stack.told["topics"]


def test_an_event_becomes_a_row_an_incident_and_a_message(stack: Stack, image: Path) -> None:
    token = (stack.places.folder / "secrets" / "demo-token").read_text(encoding="utf-8").strip()
    published = subprocess.run(
        [str(image / "flowgauge"), "publish", "--url", stack.services["gateway"].url, "--token", token],
        input="\n".join(crashed_run(number) for number in range(RUNS)),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert published.returncode == 0, published.stdout + published.stderr

    with httpx2.Client(
        base_url=stack.services["console"].url, headers={"authorization": f"Bearer {token}"}, trust_env=False
    ) as http:
        deadline = time.monotonic() + WAIT_S
        while len(rows := http.get("/v1/metrics/runs", timeout=WAIT_S).json()["rows"]) < RUNS:
            assert time.monotonic() < deadline, rows
            time.sleep(POLL_S)
        while messages(stack) < RUNS + 1:  # one for each crash, and one for a failure rate of all
            assert time.monotonic() < deadline, stack.services["receiver"].output()
            time.sleep(POLL_S)
        while {each["rule"] for each in http.get("/v1/incidents", timeout=WAIT_S).json()["rows"]} != RULES:
            assert time.monotonic() < deadline, "messages were sent, and ClickHouse does not have their incidents"
            time.sleep(POLL_S)

    assert {row["flow"] for row in rows} == {FLOW}


def test_alerts_and_dashboard_ask_for_what_the_processes_measure(stack: Stack) -> None:
    exposed: set[str] = set()
    for name in stack.services:
        if name != "receiver":
            answer = stack.get(name, "/metrics")
            assert answer.status_code == 200, f"{name}: {answer.text}"
            for line in answer.text.splitlines():
                if line.startswith("# TYPE "):
                    _, _, family, kind = line.split()
                    exposed |= {
                        family,
                        *(f"{family}_{part}" for part in ("bucket", "sum", "count") if kind == "histogram"),
                    }

    asked = {each for question in QUESTIONS.values() for each in MEASUREMENT.findall(question)}
    assert asked - exposed == set()


def test_measurements_of_gateway_and_console_are_for_the_operator_alone(stack: Stack) -> None:
    for name in ("gateway", "console"):
        asked = httpx2.get(stack.services[name].url + "/metrics", trust_env=False, timeout=WAIT_S)
        assert asked.status_code in {401, 403}, name


def test_every_process_ends_in_order_when_it_is_told_to(stack: Stack) -> None:
    roles = [each for name, each in stack.services.items() if name != "receiver"]

    codes = end_all(roles)

    assert dict(zip((each.name for each in roles), codes, strict=True)) == {each.name: 0 for each in roles}
