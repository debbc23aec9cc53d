"""Where a publisher without a gateway writes: brokers, one log among others on them, and a tenant. Pure.

    KafkaTarget(bootstrap="kafka-1:9092", tenant="acme")         in code
    FLOWGAUGE_KAFKA_BOOTSTRAP, FLOWGAUGE_KAFKA_TENANT, …         one variable for each field

The fields have the names of the settings under [kafka]. A gateway takes the tenant from a token; here nobody checks
it: brokers' access lists say who may write to the topic at all. Read `kafka_sender` next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from flowgauge.schemas.event import NAME_MAX

KAFKA_VARIABLES: Final = "FLOWGAUGE_KAFKA_"  # what their names begin with
PREFIX_DEFAULT: Final = "flowgauge"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTarget:
    """Brokers, log and tenant. Nothing is checked before the publisher connects, which says `problem` once."""

    bootstrap: str  # host:port, or several separated by commas
    tenant: str  # whose events these are
    prefix: str = PREFIX_DEFAULT  # what the names of the topics begin with
    tls: bool | str = False  # a text is what stood in the variable, if neither true nor false
    ca: str = ""  # path of the certificates to believe; "" those of the system
    certificate: str = ""  # path of our own, for brokers that ask for one
    key: str = ""
    sasl: str = ""  # one of MECHANISMS
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""  # holds the password; read at each connection, as token_file is
    token: str | Callable[[], str] = field(default="", repr=False)  # of OAUTHBEARER; called at each connection
    token_file: str = ""

    @property
    def problem(self) -> str:
        """The first thing that keeps this from working whatever the brokers say, with the remedy; "" for none."""
        if not self.bootstrap.strip():
            return "no broker is named (bootstrap, FLOWGAUGE_KAFKA_BOOTSTRAP)"
        if not self.tenant.strip() or len(self.tenant) > NAME_MAX or self.tenant == "*":
            return "no tenant is named whose events these are (tenant, FLOWGAUGE_KAFKA_TENANT)"
        if not isinstance(self.tls, bool):
            return f"FLOWGAUGE_KAFKA_TLS: expected true or false, got {self.tls!r}"
        if (self.ca or self.certificate or self.key) and not self.tls:
            return "certificates are named but TLS is off (set tls, FLOWGAUGE_KAFKA_TLS=true)"
        return self._sasl_problem()

    def _sasl_problem(self) -> str:
        password, token = self.password or self.password_file, self.token or self.token_file
        if not self.sasl:
            named = self.username or password or token
            return "a user or secret is named but no mechanism (sasl, FLOWGAUGE_KAFKA_SASL)" if named else ""
        if self.sasl not in MECHANISMS:
            return f"sasl: expected {', '.join(MECHANISMS)}, got {self.sasl[:40]!r}"
        if self.sasl == "OAUTHBEARER":
            return "" if token else "OAUTHBEARER needs a token (token_file, FLOWGAUGE_KAFKA_TOKEN_FILE)"
        if not (self.username and password):
            return f"{self.sasl} needs a user and a password (FLOWGAUGE_KAFKA_USERNAME, FLOWGAUGE_KAFKA_PASSWORD)"
        return ""


def variable_of(name: str) -> str:
    """Return the environment variable of a field."""
    return KAFKA_VARIABLES + name.upper()


def target_from(environ: Mapping[str, str]) -> KafkaTarget | None:
    """Return the target that `environ` describes, None when it names no brokers: then a gateway is meant."""
    found = {each.name: environ.get(variable_of(each.name), "").strip() for each in fields(KafkaTarget)}
    if not found["bootstrap"]:
        return None
    tls, prefix = found.pop("tls"), found.pop("prefix")
    return KafkaTarget(
        **found, tls=tls if tls not in ("", "true", "false") else tls == "true", prefix=prefix or PREFIX_DEFAULT
    )
