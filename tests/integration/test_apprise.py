"""apprise by its json:// plugin, told to a server on loopback: what arrives, and what it may not do."""

import asyncio
import sys
from dataclasses import replace

import pytest
from tests.integration.alert_services import NOW_MS, Request, Service, kind_of, running, unavailable
from tests.integration.egress_servers import serving, silent
from tests.notices import storm
from tests.unit.test_message import FIRING, RESOLVED

from flowgauge.sinks.webhooks.addresses import EgressPolicy, Reason
from flowgauge.sinks.webhooks.egress import AddressRefused, Egress
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),  # apprise's, as it is imported
]

KIND = kind_of("apprise: {url: {env: URL}}")
OPEN = EgressPolicy(("127.0.0.1",), apprise=True)


def taking(_request: Request) -> tuple[int, object]:
    return 200, {}


async def told(url: str, notice: Notice, policy: EgressPolicy = OPEN) -> Verdict:
    secrets = dict.fromkeys(KIND.references.values(), url)
    return replace(await KIND.tell(notice, Means(Egress(policy), lambda: NOW_MS, secrets)), elapsed_ms=0)


async def test_an_incident_and_a_storm_arrive_as_one_message_each() -> None:
    service = Service(taking)
    async with running(service) as port:
        assert await told(f"json://127.0.0.1:{port}/x", Notice("d", (FIRING,))) == Verdict("delivered")
        await told(f"json://127.0.0.1:{port}/x", Notice("d", (RESOLVED,)))
        await told(f"json://127.0.0.1:{port}/x", Notice("d", storm(100)))

    bodies = [request.body for request in service.requests]
    assert [body["title"] for body in bodies] == [
        "🔴 Firing: orders-sync failing",
        "✅ Resolved: orders-sync failing",
        "🔴 100 incidents: 90 firing, 10 resolved",
    ]
    assert [body["type"] for body in bodies[:2]] == ["warning", "success"]
    assert "Threshold: 20%" in bodies[0]["message"].splitlines()


@pytest.mark.parametrize("status", [307, 400, 429, 500])
async def test_what_was_not_taken_is_tried_again_and_nothing_follows_a_redirect(status: int) -> None:
    service = Service(taking)
    async with running(service) as port:
        service.bad_days = [unavailable(status, b"Location: http://127.0.0.1:%d/other" % port)]
        url = f"json://127.0.0.1:{port}/x?redirect=yes"

        assert await told(url, Notice("d", (FIRING,))) == Verdict("failed", "apprise could not send it")
        assert await told(url, Notice("d", (FIRING,))) == Verdict("delivered")

    assert [request.path for request in service.requests] == ["/x", "/x"]


async def test_nothing_is_told_until_the_settings_open_it_and_only_to_servers_that_they_open() -> None:
    service = Service(taking)
    async with running(service) as port:
        url = f"json://127.0.0.1:{port}/"
        closed = await told(url, Notice("d", (FIRING,)), EgressPolicy(("127.0.0.1",)))
        with pytest.raises(AddressRefused) as caught:
            await told(url, Notice("d", (FIRING,)), EgressPolicy(apprise=True))

    assert closed == Verdict("failed", "apprise connects by itself, which the settings do not open")
    assert caught.value.reason is Reason.LOOPBACK
    assert service.requests == []


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    async with serving(silent) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await told(f"json://127.0.0.1:{port}/?rto=2", Notice("d", (FIRING,)))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("unheard://S3CRET", "refused: not a URL that apprise can read"),
        ("S3CRET", "refused: not a URL that apprise can read"),
        ("syslog://user", "refused: it acts on this machine"),
    ],
)
async def test_what_apprise_cannot_read_or_would_do_here_is_told_without_the_url(
    url: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = KIND.secret_fault("url", url)

    assert await told(url, Notice("d", (FIRING,))) == Verdict("failed", reason)
    assert fault is not None
    assert fault[0] == reason
    assert "S3CRET" not in f"{fault}{capfd.readouterr()}"
    assert KIND.secret_fault("url", "json://hooks.example/x") is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("jsons://[::1]:90/x", Reason.LOOPBACK),
        ("json://8.8.8.8/x", Reason.PLAIN_HTTP),
        ("jsons://169.254.169.254/x", Reason.LINK_LOCAL),
        ("jsons://user:secret@10.0.0.1/x", Reason.PRIVATE),
        ("matrixs://user:secret@127.0.0.1/#room", Reason.LOOPBACK),
    ],
)
async def test_a_server_that_the_url_names_is_held_to_the_deny_list(url: str, reason: Reason) -> None:
    with pytest.raises(AddressRefused) as caught:
        await told(url, Notice("d", (FIRING,)), EgressPolicy(apprise=True))

    assert caught.value.reason is reason


async def test_where_apprise_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    assert KIND.secret_fault("url", "json://h") == (
        "apprise is not installed",
        "install it: pip install 'flowgauge[apprise]'",
    )
    assert await told("json://127.0.0.1/", Notice("d", (FIRING,))) == Verdict("failed", "apprise is not installed")
