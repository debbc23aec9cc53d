"""One attempt at a delivery: read the secrets, tell the channel, and say what came of it. It never raises."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.settings import SECRET_CHARS_MAX, resolve_secret
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.egress import AddressRefused, Egress, EgressFailed, Failure
from flowgauge.sinks.webhooks.kinds.kind import ChannelKind, Means, Notice
from flowgauge.sinks.webhooks.places import Place
from flowgauge.sinks.webhooks.schedule import NO_SECRET, NOT_SENT, Verdict
from flowgauge.sinks.webhooks.sends import Send
from flowgauge.sinks.webhooks.telling import UNKNOWN_OUTCOME

_log = structlog.get_logger("flowgauge.notifier")


Details = Callable[[Transition], Awaitable[tuple[str, ...]]]  # plain lines about an incident; they never fail


async def no_details(_transition: Transition) -> tuple[str, ...]:  # as the others are
    """Give none."""
    return ()


@dataclass(frozen=True, slots=True)
class Wording:
    """What messages say beside their transition.

    `public_url` is where people reach the console; `details` gives lines about an incident for people, () where it
    cannot: it takes its time from the attempt's.
    """

    public_url: str = ""
    details: Details = no_details


@dataclass(frozen=True, slots=True)
class Sender:
    """What every attempt needs."""

    egress: Egress
    environ: Mapping[str, str]
    now_ms: Callable[[], int]
    wording: Wording

    async def attempt(self, place: Place, send: Send, *, commands: frozenset[str] = frozenset()) -> Verdict:
        """Make one attempt within the `attempt_ms_max` of its kind and judge it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(place.kind.attempt_ms_max / 1000):
                return await self._tell(place.kind, send, commands)
        except (InvalidSettings, ValueError):
            verdict = Verdict("failed", NO_SECRET)
        except AddressRefused as refused:
            # Tried again: it can be opened. The remedy names the host, which not everybody may see who sees the reason.
            verdict = Verdict("failed", refused.reason.refusal)
        except EgressFailed as failed:
            verdict = Verdict("failed" if failed.retryable else "dead", failed.reason.value)
        except TimeoutError:
            verdict = _of_unknown(place, Failure.TIMEOUT.value)
        except Exception as error:  # noqa: BLE001  # one endpoint's trouble is not the others'; shown and tried again
            _log.error("attempt broke", channel=send.channel, error=type(error).__name__)
            verdict = _of_unknown(place, NOT_SENT)
        return Verdict(verdict.outcome, verdict.reason, elapsed_ms=round((loop.time() - began) * 1000))

    async def _tell(self, kind: ChannelKind, send: Send, commands: frozenset[str]) -> Verdict:
        secrets = await asyncio.to_thread(self._secrets, kind)
        notice = Notice(
            send.delivery_id,
            tuple(member.transition for member in send.members),
            reference=send.members[0].reference if len(send.members) == 1 else "",
            public_url=self.wording.public_url,
            details=await self.wording.details(send.transition) if kind.has_details and len(send.members) == 1 else (),
            is_replay=send.is_replay,
        )
        return await kind.tell(notice, Means(self.egress, self.now_ms, secrets, commands))

    def _secrets(self, kind: ChannelKind) -> dict[SecretRef, str]:
        return {ref: resolve_secret(ref, self.environ, _read_text) for ref in kind.references.values()}


def _of_unknown(place: Place, reason: str) -> Verdict:
    """Return what comes of an attempt that may or may not have reached the other side."""
    return Verdict("failed", reason) if place.policy.is_repeatable else Verdict("dead", UNKNOWN_OUTCOME)


def _read_text(file: str) -> str:
    with Path(file).open(encoding="utf-8") as opened:
        return opened.read(SECRET_CHARS_MAX + 1)
