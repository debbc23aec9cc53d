"""A Faust app on the log that the settings describe: where brokers are, who we are to them, what topics are called.

Any option of Faust's may be given. The defaults differ from Faust's own where a worker would open a port or create a
topic that nobody asked for.
"""

import os
from pathlib import Path
from typing import Any, cast

import faust
from faust.types.transports import TransportT

from flowgauge.schemas.setting_parts import KafkaSettings
from flowgauge.schemas.settings import Settings, load_settings
from flowgauge.transport.faust.committed_reading import CommittedTransport
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.kafka_security import Security, TokenProvider, tls_context
from flowgauge.transport.kafka_settings import connection_of


class App(faust.App):
    """A Faust app that knows what our topics are called. `app_of` makes it."""

    names: Names

    def _new_transport(self) -> TransportT:
        return CommittedTransport(self.conf.broker_consumer, self)


def app_of(name: str, settings: Settings | None = None, **options: Any) -> App:
    """Return the app `name`, connected as `settings` say; without them, as flowgauge.toml and FLOWGAUGE_* do.

    Its workers share the work as the consumer group PREFIX-NAME. `options` are Faust's. Raises InvalidSettings, or
    BadEnvironment for certificates that cannot be read.
    """
    kafka = (settings or load_settings(None, os.environ, {})).kafka
    connection = connection_of(kafka, os.environ, _read_text, host="faust")
    app: App = cast("Any", App)(**{"id": f"{connection.prefix}-{name}", **_defaults(kafka, connection), **options})
    app.names = connection.names
    # `faust worker` sets web_enabled, whatever the app says: without --without-web it would listen on all addresses.
    app.boot_strategy.enable_web = bool(options.get("web_enabled"))
    return app


def credentials_of(security: Security) -> faust.auth.Credentials | None:
    """Return what Faust calls these credentials; None for a plain connection."""
    context = tls_context(security) if security.tls else None
    if security.token is not None:
        return faust.OAuthCredentials(oauth_cb=cast("Any", TokenProvider(security.token)), ssl_context=context)
    if security.mechanism:
        return faust.SASLCredentials(
            mechanism=security.mechanism,
            username=security.username,
            password=security.password,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


def _defaults(kafka: KafkaSettings, connection: Connection) -> dict[str, Any]:
    return {
        "broker": [f"aiokafka://{address.strip()}" for address in connection.bootstrap.split(",")],
        "broker_credentials": credentials_of(connection.security),
        "topic_replication_factor": kafka.replication,  # of topics that tables and group_by make
        "topic_disable_leader": True,
    }


def _read_text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
