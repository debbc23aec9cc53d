"""Who may come in, and where messages may go, as the settings and the environment say."""

import os
from pathlib import Path

from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.settings import Settings, resolve_tokens
from flowgauge.sinks.webhooks.addresses import EgressPolicy


def read_text(path: str) -> str:
    """Return all of a file that a setting names."""
    return Path(path).read_text(encoding="utf-8")


def tokens_of(settings: Settings) -> TokenTable:
    """Return whose events a token brings in; raise InvalidSettings for one that cannot be had."""
    return TokenTable(resolve_tokens(settings, os.environ, read_text))


def egress_policy(settings: Settings) -> EgressPolicy:
    """Return where webhooks may go; raise InvalidSettings for an entry that cannot be read."""
    try:
        return EgressPolicy(allow=settings.egress.allow, apprise=settings.egress.apprise)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
