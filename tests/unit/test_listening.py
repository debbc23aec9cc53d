"""The one port: what cannot be had is told in one line, with the flag that changes it."""

import socket

import pytest

from flowgauge.console.listening import bind
from flowgauge.schemas.errors import BadEnvironment


def test_a_taken_port_is_told_with_the_flag_that_takes_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(
            BadEnvironment, match=rf"^port {port} of 127\.0\.0\.1 is taken; choose another with --port$"
        ):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])  # no name; an address that no machine has
def test_a_host_that_is_not_of_this_machine_is_told_with_its_own_flag(host: str) -> None:
    with pytest.raises(BadEnvironment, match=r"choose another with --host$"):
        bind(host, 0)
