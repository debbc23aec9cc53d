"""Who may come in, and where messages may go, as the settings and the environment say."""

import os
from pathlib import Path

from flowgauge.producers.gateway.limits import Limits
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.settings import Settings, resolve_tokens
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.transport.wall_clock import now_ms


def read_text(path: str) -> str:
    """Return all of a file that a setting names."""
    return Path(path).read_text(encoding="utf-8")


def tokens_of(settings: Settings) -> TokenTable:
    """Return whose events a token brings in; raise InvalidSettings for one that cannot be had."""
    return TokenTable(resolve_tokens(settings, os.environ, read_text))


def limits_of(settings: Settings) -> Limits:
    """Return how much each tenant and token may bring in."""
    return Limits(settings.limits, {name: tenant.limits for name, tenant in settings.tenants.items()}, now_ms)


def egress_policy(settings: Settings) -> EgressPolicy:
    """Return where webhooks may go; raise InvalidSettings for an entry that cannot be read."""
    try:
        return EgressPolicy(allow=settings.egress.allow, apprise=settings.egress.apprise)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
