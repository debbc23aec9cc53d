"""One of the many services that apprise knows, for the long tail.

apprise resolves names and connects by itself, in threads: what egress.py holds does not hold for it. So it tells only
where the settings say `egress.apprise`; a server that the URL names is checked before, redirects are off, and what
acts on this machine is refused. It is imported when it is first needed, and may be absent.
"""

import asyncio
import importlib
import importlib.util
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar

from pydantic import Field

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.sinks.webhooks.egress import AddressRefused
from flowgauge.sinks.webhooks.kinds.kind import ChannelKind, Means, Notice, Secret
from flowgauge.sinks.webhooks.kinds.plain_text import plain_text
from flowgauge.sinks.webhooks.kinds.wording import cut
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict

THREADS_MAX = 4  # apprise blocks; its threads are its own, so that one that hangs holds up no other channel
NOT_OPENED = "apprise connects by itself, which the settings do not open"
NOT_INSTALLED = "apprise is not installed"
NOT_READABLE = "refused: not a URL that apprise can read"
ACTS_HERE = "refused: it acts on this machine"
NOT_TAKEN = "apprise could not send it"

_HERE = frozenset(  # schemas
    {"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"}
)
_threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="apprise")


class AppriseService(ChannelKind):
    """A service by its apprise URL, which holds its secrets."""

    retry: ClassVar[RetryClass] = "chat"
    takes_groups: ClassVar[bool] = True

    url: Annotated[Secret, Field(description="Where the apprise URL stands, never the URL itself.")]

    @property
    def endpoint(self) -> str:
        """Where the URL stands."""
        return repr(self.url)

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The URL: it is no address that messages are posted to."""
        return {"url": self.url}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:  # noqa: ARG002  # there is one
        """Return why apprise cannot tell by `secret`."""
        if importlib.util.find_spec("apprise") is None:
            return NOT_INSTALLED, "install it: pip install 'flowgauge[apprise]'"
        fault = _fault(_read(secret))
        return (fault, "the URLs of services: https://github.com/caronc/apprise/wiki") if fault else None

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Let apprise tell it; it says only whether it could."""
        if not means.egress.opens_apprise:
            return Verdict("failed", NOT_OPENED)
        loop = asyncio.get_running_loop()
        try:
            service = await loop.run_in_executor(_threads, _read, means.secret(self.url))
        except ImportError:
            return Verdict("failed", NOT_INSTALLED)
        if fault := _fault(service):
            return Verdict("failed", fault)
        if address := _own_server(service):
            verdict = await means.egress.check_host(address)
            if not verdict.allowed:
                raise AddressRefused(verdict)
        is_sent = await loop.run_in_executor(_threads, _send, service, notice)
        return Verdict("delivered") if is_sent else Verdict("failed", NOT_TAKEN)


def _read(url: str) -> Any:
    """Return apprise's own object for `url`, None for what it cannot read. Raises ImportError without apprise."""
    apprise: Any = importlib.import_module("apprise")
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it writes URLs
    asset = apprise.AppriseAsset(secure_logging=True, storage_mode="memory")
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is not None:
        service.redirects = False
    return service


def _fault(service: Any) -> str | None:
    if service is None:
        return NOT_READABLE
    return ACTS_HERE if service.schema in _HERE else None


def _own_server(service: Any) -> str | None:
    """Return the server that the URL itself names; None where the service has servers of its own."""
    if not service.host or not any("{host}" in template for template in service.templates):
        return None
    port = f":{service.port}" if service.port else ""
    return f"{'https' if service.secure else 'http'}://{service.host}{port}"


def _send(service: Any, notice: Notice) -> bool:
    text = plain_text(notice)
    title = cut(text.title, service.title_maxlen) if service.title_maxlen else ""
    body = str(text) if title else f"{text.title}\n\n{text}"
    kind = "success" if notice.transition.to_state == "resolved" else "warning"
    return service.notify(body=cut(body, service.body_maxlen), title=title, notify_type=kind) is True
