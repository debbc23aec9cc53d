"""How brokers are believed, and we by them: TLS, client certificates and SASL; and why a connection came to nothing.

aiokafka logs why it could not connect and raises only that no broker answers, so its log lines are read (`refusal_in`).
It also takes the refusal of a token for its acceptance: here it gives the answer that makes brokers say so.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import OAuthAuthenticator

from flowgauge.schemas.errors import BadEnvironment, FlowgaugeError

_CONNECT_LINE = "Unable connect to "
_REFUSED_TOKEN = b"\x01"  # RFC 7628: what a client says to a refusal, so that the exchange ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How brokers are believed, and we by them. The default is a plain connection."""

    tls: bool = False
    ca: str = ""  # path of the certificates to believe; "" those of the system
    certificate: str = ""  # path of our own, for brokers that ask for one
    key: str = ""
    mechanism: str = ""  # PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER
    username: str = ""
    password: str = field(default="", repr=False)
    token: Callable[[], str] | None = field(default=None, repr=False)  # asked at each connection, for OAUTHBEARER

    @property
    def protocol(self) -> str:
        """What Kafka calls it."""
        return f"{'SASL_' if self.mechanism else ''}{'SSL' if self.tls else 'PLAINTEXT'}"

    @property
    def secrets(self) -> str:
        """The settings that say who we are."""
        return "kafka.token" if self.mechanism == "OAUTHBEARER" else "kafka.username and kafka.password"


PLAIN = Security()


class NoToken(kafka_errors.KafkaError):  # type: ignore[misc]  # aiokafka publishes no types
    """There is no token to show."""


class ClosedAtOnce(kafka_errors.KafkaError):  # type: ignore[misc]  # as above
    """A broker took the connection and closed it without a word."""


class TokenProvider:
    """Where aiokafka asks for the token at each connection."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    async def token(self) -> str:
        """Return the token as it is now: it may have been renewed."""
        try:
            return await asyncio.to_thread(self._read)
        except Exception as error:  # noqa: BLE001  # whatever a hook raises; aiokafka goes on only with errors of its own
            # What others' errors say may hold the secret, as an HTTP client's OSError does that names the whole URL.
            raise NoToken(str(error) if isinstance(error, FlowgaugeError) else type(error).__name__) from None


cast("Any", AbstractTokenProvider).register(TokenProvider)  # whose method is said to return nothing


def tls_context(security: Security) -> ssl.SSLContext:
    """Return how brokers' certificates are checked and ours shown. Raises BadEnvironment for unreadable files."""
    try:
        context = ssl.create_default_context(cafile=security.ca or None)
        if security.certificate:
            context.load_cert_chain(security.certificate, security.key or None)
    except (OSError, ssl.SSLError) as error:
        paths = ", ".join(path for path in (security.ca, security.certificate, security.key) if path)
        raise BadEnvironment(f"kafka.tls: {paths}: {error}: name readable PEM files") from error
    return context


def refusal_in(record: logging.LogRecord) -> Exception | None:
    """Return why a broker that was reached did not take us, as a log line of aiokafka tells it; None where none is."""
    is_connect_line = record.msg.startswith(_CONNECT_LINE)  # others tell of a connection that broke later
    for said in record.args if isinstance(record.args, tuple) else ():
        match said:
            case (
                kafka_errors.AuthenticationFailedError()
                | kafka_errors.SaslAuthenticationFailed()
                | kafka_errors.UnsupportedSaslMechanismError()
                | kafka_errors.IllegalSaslStateError()
                | ssl.SSLError()
                | NoToken()
            ):
                return said
            case kafka_errors.KafkaConnectionError() | ConnectionResetError() | EOFError() if is_connect_line:
                return ClosedAtOnce()
            case _:
                continue
    return None


def meaning_of_refusal(error: Exception, security: Security) -> str:
    """Return what a refusal means and which setting to change, "" for another error."""
    meaning = ""
    match error:
        case ssl.SSLCertVerificationError():
            meaning = f"its certificate is not one to believe ({error.verify_message}): correct kafka.ca"
        case ssl.SSLError():
            meaning = f"it does not speak TLS as we do ({error.reason}): correct kafka.bootstrap and kafka.tls"
        case ClosedAtOnce():
            meaning = (
                "it closes the connection at once: correct kafka.tls and kafka.sasl, and kafka.certificate where it "
                "asks for one (or it is just starting)"
            )
        case NoToken():
            meaning = f"there is no token to show it ({error}): correct kafka.token"
        case kafka_errors.UnsupportedSaslMechanismError() | kafka_errors.IllegalSaslStateError():
            meaning = f"it does not take {security.mechanism} ({type(error).__name__}): correct kafka.sasl"
        case kafka_errors.AuthenticationFailedError() | kafka_errors.SaslAuthenticationFailed():
            meaning = f"it does not believe us ({error}): correct kafka.sasl, or {security.secrets}"
        case _:
            pass
    return meaning


def _answer_refusals(authenticator: Any) -> None:
    step = authenticator.step

    async def answering(self: Any, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload and self._token_sent:
            return _REFUSED_TOKEN, True
        return cast("tuple[bytes, bool] | None", await step(self, payload))

    authenticator.step = answering


_answer_refusals(OAuthAuthenticator)
