"""The forms of single settings: each takes the text or says what was expected. Pure."""

import posixpath
from urllib.parse import urlsplit

from flowgauge.schemas.times import parse_duration_ms


def duration_form(text: str) -> str:
    """Return a duration above zero."""
    if parse_duration_ms(text) == 0:
        raise ValueError(f"expected a duration above zero, got {text!r}")
    return text


def span_form(text: str) -> str:
    """Return a duration, or 0s for none."""
    parse_duration_ms(text)
    return text


def program_form(text: str) -> str:
    """Return the absolute path of a program, without any other way to write it: it is compared as text."""
    if not text.startswith("/") or not text.isprintable() or posixpath.normpath(text) != text:
        raise ValueError(f"expected the absolute path of a program, such as /usr/bin/restart-worker, got {text!r}")
    return text


def public_url_form(text: str) -> str:
    """Return the address at which people reach the console, or nothing."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable() and " " not in text
    except ValueError:
        is_url = False
    if text and not is_url:
        raise ValueError(f"expected the console's address, such as https://flowgauge.example.com, got {text!r}")
    return text


def run_url_form(text: str) -> str:
    """Return the address of a run's page in the orchestrator, with {run} and perhaps {flow} to fill in, or nothing."""
    filled = text.replace("{run}", "run").replace("{flow}", "flow")
    try:
        parts = urlsplit(filled)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and filled.isprintable() and " " not in text
    except ValueError:
        is_url = False
    if text and not (is_url and "{run}" in text and not {"{", "}"} & {*filled}):
        raise ValueError(
            f"expected where a run is shown, such as https://prefect.example.com/runs/flow-run/{{run}}, got {text!r}"
        )
    return text


def server_url_form(text: str) -> str:
    """Return the address of a ClickHouse server, or nothing."""
    if "@" in text:  # never repeated: it may hold a password
        raise ValueError("expected no user in the address, got one (write clickhouse.user and clickhouse.password)")
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        is_url = is_address and text.isprintable() and " " not in text and not (parts.path.strip("/") or parts.query)
    except ValueError:
        is_url = False
    if text and not is_url:
        raise ValueError(
            f"expected the address of ClickHouse over HTTP, such as https://ch.internal:8443, got {text!r}"
        )
    return text
