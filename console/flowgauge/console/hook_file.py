"""The watched file of hooks: which webhooks come in, and what they become."""

import os
from functools import partial

from flowgauge.console.access import read_text
from flowgauge.console.watched_file import WatchedFile
from flowgauge.producers.hook_book import HookBook, OpenHook, hook_book
from flowgauge.schemas.settings import Settings, resolve_secret
from flowgauge.transport.health import Health

PART = "hooks"


class WatchedHooks(WatchedFile[HookBook]):
    """The hooks that are open; without a file, none. Secrets are read when the file is."""

    def __init__(self, settings: Settings, health: Health) -> None:
        secret_of = partial(resolve_secret, environ=os.environ, read_text=read_text)
        read = partial(hook_book, secret_of=secret_of, tenants=frozenset(settings.tenants))
        super().__init__(settings.hooks, health, PART, read=read, nothing=HookBook())

    def of(self, name: str) -> OpenHook | None:
        """Return the hook of this name as it is now."""
        return self.said.of(name)
