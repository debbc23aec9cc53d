"""The broker that tests start ends with them, however they end."""

import signal
import socket
import subprocess
import sys
import time

import pytest

START = "from tests.kafka_broker import running_broker\nwith running_broker() as at: print(at, flush=True); input()"
WAIT_S = 30.0  # takes 50 ms on an idle machine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def is_open(bootstrap: str) -> bool:
    host, _, port = bootstrap.partition(":")
    with socket.socket() as connection:
        return connection.connect_ex((host, int(port))) == 0


def test_a_broker_ends_when_the_process_that_started_it_is_killed(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWGAUGE_TEST_KAFKA", raising=False)  # asked for `kafka` to be skipped where there is none
    with subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        bootstrap = process.stdout.readline().decode().strip()
        assert is_open(bootstrap)

        process.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + WAIT_S
    while is_open(bootstrap):
        assert time.monotonic() < deadline, f"the broker at {bootstrap} outlived its owner"
        time.sleep(0.05)
