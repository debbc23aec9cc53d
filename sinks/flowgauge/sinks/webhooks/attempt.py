"""One attempt at a delivery: read the secrets, tell the channel, and say what came of it. It never raises."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.settings import SECRET_CHARS_MAX, resolve_secret
from flowgauge.sinks.webhooks.channels import Channel
from flowgauge.sinks.webhooks.egress import AddressRefused, Egress, EgressFailed
from flowgauge.sinks.webhooks.kinds.kind import ATTEMPT_MS_MAX, ChannelKind, Means, Notice
from flowgauge.sinks.webhooks.outbox import Send
from flowgauge.sinks.webhooks.schedule import NO_SECRET, NOT_SENT, Verdict

_log = structlog.get_logger("flowgauge.notifier")


@dataclass(frozen=True, slots=True)
class Sender:
    """What every attempt needs. `public_url` is where people reach the console."""

    egress: Egress
    environ: Mapping[str, str]
    now_ms: Callable[[], int]
    public_url: str

    async def attempt(self, channel: Channel, send: Send) -> Verdict:
        """Make one attempt within ATTEMPT_MS_MAX and judge it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(ATTEMPT_MS_MAX / 1000):
                return await self._tell(channel.kind, send)
        except (InvalidSettings, ValueError):
            verdict = Verdict("failed", NO_SECRET)
        except AddressRefused as refused:
            verdict = Verdict("failed", f"address refused: {refused}")  # tried again: it can be opened
        except EgressFailed as failed:
            verdict = Verdict("failed" if failed.retryable else "dead", failed.reason.value)
        except TimeoutError:
            verdict = Verdict("failed", NOT_SENT)
        except Exception as error:  # noqa: BLE001  # one endpoint's trouble is not the others'; shown and tried again
            _log.error("attempt broke", channel=send.channel, error=type(error).__name__)
            verdict = Verdict("failed", NOT_SENT)
        return Verdict(verdict.outcome, verdict.reason, elapsed_ms=round((loop.time() - began) * 1000))

    async def _tell(self, kind: ChannelKind, send: Send) -> Verdict:
        secrets = await asyncio.to_thread(self._secrets, kind)
        notice = Notice(send.delivery_id, (send.transition,), public_url=self.public_url)
        return await kind.tell(notice, Means(self.egress, self.now_ms, secrets))

    def _secrets(self, kind: ChannelKind) -> dict[SecretRef, str]:
        return {ref: resolve_secret(ref, self.environ, _read_text) for ref in kind.references.values()}


def _read_text(file: str) -> str:
    with Path(file).open(encoding="utf-8") as opened:
        return opened.read(SECRET_CHARS_MAX + 1)
