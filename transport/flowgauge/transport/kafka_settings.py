"""The Kafka connection that the settings describe. Pure: secrets are read by what it is given."""

from collections.abc import Callable, Mapping

from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.setting_parts import KafkaSettings, SecretRef
from flowgauge.schemas.settings import resolve_secret
from flowgauge.schemas.times import parse_duration_ms
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.kafka_security import Security


def connection_of(
    settings: KafkaSettings, environ: Mapping[str, str], read_text: Callable[[str], str], *, host: str
) -> Connection:
    """Return how to reach the brokers; `host` is who we are where no instance is set. Raises InvalidSettings."""

    def secret(ref: SecretRef | None, name: str) -> str:
        try:
            return resolve_secret(ref, environ, read_text) if ref else ""
        except InvalidSettings as error:
            raise InvalidSettings(f"kafka.{name}: {error}") from None

    if not settings.bootstrap:
        raise InvalidSettings('kafka.bootstrap is not set (write [kafka] bootstrap = "HOST:PORT")')
    token = settings.token
    if token is not None:
        secret(token, "token")  # one that is missing is told now, not when a broker asks
    return Connection(
        bootstrap=settings.bootstrap,
        prefix=settings.prefix,
        instance=settings.instance or host,
        session_ms=parse_duration_ms(settings.session),
        heartbeat_ms=parse_duration_ms(settings.heartbeat),
        transaction_ms=parse_duration_ms(settings.transaction_timeout),
        security=Security(
            tls=settings.tls,
            ca=settings.ca,
            certificate=settings.certificate,
            key=settings.key,
            mechanism=settings.sasl,
            username=settings.username,
            password=secret(settings.password, "password"),
            token=(lambda: secret(token, "token")) if token else None,
        ),
        client={str(name): value for name, value in settings.client.items()},
    )
