"""Token files, read again while the process runs: a token comes and goes without a restart.

    the file holds        old          old, new          new
    let in                old          old and new       new        within LOOK_EVERY_MS
    senders have          old ───────► some old ───────► new

So no event is refused on the way. What cannot be read never replaces what could be: it is told in the health banner.
"""

import asyncio
import os

import structlog

from flowgauge.console.access import read_text
from flowgauge.console.watched_file import LOOK_EVERY_MS, not_applied
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.setting_parts import SecretFromFile
from flowgauge.schemas.settings import Settings, resolve_tokens
from flowgauge.transport.health import Health
from flowgauge.transport.patience import pause

PART = "tokens"  # how the health banner names what is wrong

log = structlog.get_logger("flowgauge.tokens")


async def watch_tokens(settings: Settings, tokens: TokenTable, health: Health, stop: asyncio.Event) -> None:
    """Keep `tokens` as the files say that the settings name, until `stop`."""
    if not any(isinstance(ref, SecretFromFile) for tenant in settings.tenants.values() for ref in tenant.tokens):
        await stop.wait()
    while not stop.is_set():
        await asyncio.to_thread(look, settings, tokens, health)
        await pause(stop, LOOK_EVERY_MS)


def look(settings: Settings, tokens: TokenTable, health: Health) -> None:
    """Read the files once."""
    try:
        is_other = tokens.replace(resolve_tokens(settings, os.environ, read_text))
    except InvalidSettings as error:
        if health.operator_problems.get(PART) != str(error):
            log.warning("tokens not applied", problem=str(error))
        health.problems[PART] = not_applied(PART)
        health.operator_problems[PART] = str(error)
        return
    health.problems.pop(PART, None)
    health.operator_problems.pop(PART, None)
    if is_other:
        log.info("tokens applied", tokens=repr(tokens))
