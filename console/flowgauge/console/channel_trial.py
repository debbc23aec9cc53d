"""A trial of a channel: an incident that never was, told to it as the notifier would tell it. Pure.

The made-up incident says in its rule and its reason that it is a test, and has no page.
"""

from collections.abc import Callable, Iterator
from difflib import get_close_matches

import msgspec

from flowgauge.schemas.errors import BadEnvironment, BadInput, InvalidSettings
from flowgauge.schemas.event import DEFAULT_TENANT
from flowgauge.schemas.ids import delivery_id, incident_id, transition_id
from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.channel_health import REMEDIES
from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
from flowgauge.sinks.webhooks.egress import Failure
from flowgauge.sinks.webhooks.kinds.kind import url_fault
from flowgauge.sinks.webhooks.message import fitted
from flowgauge.sinks.webhooks.schedule import Verdict
from flowgauge.sinks.webhooks.sends import Member, Send

RULE = "flowgauge: test of channel"
RULE_KIND = "test"
REASON = "somebody tried this channel: nothing happened"
END = "the trial is over: nothing happened"
NAMES_MAX = 10  # in one remedy
_REFUSED_HERE = "the service does not take its secret, token or address: correct what the channel names"
_OF_STATUS = {
    401: _REFUSED_HERE,
    403: _REFUSED_HERE,
    404: "nothing is there: correct its `url:`",
    410: "the service wants no more: make a new address there",
}
_OF_FAILURE = {
    Failure.DNS.value: "check the host of its `url:` and the name server of this machine",
}


def channel_named(book: ChannelBook, name: str, tenant: str | None) -> tuple[Channel, str]:
    """Return the channel that is called `name`, and whose incident to try it with.

    Without a `tenant` it is the only one of that name. Raises BadInput with the nearest names, or whose there are.
    """
    if tenant is not None:
        found = book.find(tenant, name)
        return (found, tenant) if found else _unknown(book, name, tenant)
    named = [each for each in book.channels if each.name == name]
    if len(named) > 1:
        owners = ", ".join(sorted(each.tenant for each in named))
        raise BadInput(f"several channels are called {name!r}: say whose with --tenant; there are those of {owners}")
    if not named:
        return _unknown(book, name, None)
    (only,) = named
    return only, DEFAULT_TENANT if only.tenant == ANY_TENANT else only.tenant


def refuse_unreadable(channel: Channel, secret_of: Callable[[SecretRef], str]) -> None:
    """Raise BadEnvironment where a secret of the channel is not on this machine, BadInput where it is none.

    Neither is told with the secret.
    """
    kind = channel.kind
    for name, ref in kind.references.items():
        try:
            secret = secret_of(ref)
        except InvalidSettings as error:
            raise BadEnvironment(f"channel {channel.name}: {name}: {error}: nothing was sent") from None
        fault = url_fault(secret) if name in kind.urls else kind.secret_fault(name, secret)
        if fault:
            said, *remedy = fault
            raise BadInput(f"channel {channel.name}: {name}: {said}" + "".join(f" ({each})" for each in remedy))


def trial_firing(channel: Channel, tenant: str, *, severity: str, now_ms: int) -> Transition:
    """Return the firing of the made-up incident. No two trials have an id in common, nor one with a real incident."""
    rule = f"{RULE} {channel.name}"
    incident = incident_id(tenant, rule, [channel.name], now_ms)
    return fitted(
        Transition(
            transition_id=transition_id(incident, 0, "firing"),
            incident_id=incident,
            seq=0,
            tenant=tenant,
            rule=rule,
            rule_kind=RULE_KIND,
            rules_version=0,
            key={"channel": channel.name},
            from_state="inactive",
            to_state="firing",
            at_ms=now_ms,
            opened_at_ms=now_ms,
            reason=REASON,
            severity=severity,
        )
    )


def trial_end(firing: Transition, now_ms: int) -> Transition:
    """Return the end of the made-up incident."""
    return msgspec.structs.replace(
        firing,
        transition_id=transition_id(firing.incident_id, 1, "resolved"),
        seq=1,
        from_state="firing",
        to_state="resolved",
        at_ms=max(now_ms, firing.at_ms),
        reason=END,
    )


def trial_send(channel: Channel, transition: Transition, reference: str = "") -> Send:
    """Return the one attempt at telling it; `reference` is by what the channel knows what it was told before."""
    told = delivery_id(transition.transition_id, channel.name)
    return Send(channel.name, (Member(transition, 1, told, reference),))


def verdict_words(verdict: Verdict) -> Iterator[str]:
    """Yield lines that say what came of an attempt, and what to do where it did not arrive."""
    status = f", status {verdict.status}" if verdict.status else ""
    numbers = f"({verdict.elapsed_ms} ms{status})"
    if verdict.outcome == "delivered":
        yield f"delivered {numbers}"
        return
    yield f"not delivered: {verdict.reason} {numbers}"
    if remedy := verdict_remedy(verdict):
        yield f"what to do: {remedy}"
    yield f"the notifier would {'try it again' if verdict.outcome == 'failed' else 'give it up'}"


def verdict_remedy(verdict: Verdict) -> str:
    """Return what to do where a message did not arrive; "" where nothing is known."""
    return REMEDIES.get(verdict.reason) or _OF_STATUS.get(verdict.status) or _OF_FAILURE.get(verdict.reason, "")


def _unknown(book: ChannelBook, name: str, tenant: str | None) -> tuple[Channel, str]:
    whose = "" if tenant is None else f" for tenant {tenant}"
    known = sorted({each.name for each in book.channels if tenant is None or each.tenant in {tenant, ANY_TENANT}})
    remedy = "there is none"
    if known:
        near = get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known[:NAMES_MAX])}"
    raise BadInput(f"no channel is called {name!r}{whose}: {remedy}")
