"""Setting parts: the tables of a settings file, and how secrets are named there. Pure.

`settings` puts them together and reads them.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flowgauge.schemas.setting_forms import duration_form, program_form, server_url_form, span_form
from flowgauge.schemas.times import parse_duration_ms

QUESTIONS_RUNNING_MAX = 64  # ClickHouse itself takes 100 by default
QUESTIONS_WAITING_MAX = 1_000  # each is a connection that is held
REPLICATION_MAX = 15  # more copies than any cluster keeps
ROWS_DAYS: Final = 400  # after which the tables let go of everybody's rows
DATABASE_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
PLACE = r"^[a-z.]+-[0-9]{1,9}@[0-9]{1,19}$"

KafkaClientSetting: TypeAlias = Literal[
    "request_timeout_ms", "retry_backoff_ms", "metadata_max_age_ms", "connections_max_idle_ms"
]

Duration: TypeAlias = Annotated[str, AfterValidator(duration_form)]


class Part(BaseModel):
    """A table of settings; a name that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SecretFromEnv(Part):
    """A secret in an environment variable."""

    env: str = Field(min_length=1)


class SecretFromFile(Part):
    """A secret that is all of a file, without the white space around it."""

    file: str = Field(min_length=1)


SecretRef: TypeAlias = SecretFromEnv | SecretFromFile


class LimitSettings(Part):
    """How much may come in, by each process; 0: any number, where nothing else is said."""

    requests_per_second: int = Field(default=2_000, ge=0)  # of each token
    bytes_per_second: int = Field(default=67_108_864, ge=0)  # of each token, as they come over the wire
    events_per_second: int = Field(default=50_000, ge=0)  # of each tenant
    events_per_day: int = Field(default=0, ge=0)  # of each tenant, from midnight to midnight UTC
    burst: Duration = "10s"  # after a pause as much may come at once as in so long
    connections: int = Field(default=0, ge=0)  # open at a time; 0: half of what the system lets the process hold
    address_connections: int = Field(default=0, ge=0)  # of one address; 0: half of those


class TenantLimits(Part):
    """What of LimitSettings is different for one tenant."""

    requests_per_second: int | None = Field(default=None, ge=0)
    bytes_per_second: int | None = Field(default=None, ge=0)
    events_per_second: int | None = Field(default=None, ge=0)
    events_per_day: int | None = Field(default=None, ge=0)


class Tenant(Part):
    """Whose events a token brings in."""

    tokens: tuple[SecretRef, ...] = Field(min_length=1, strict=False)
    retention_days: int = Field(default=ROWS_DAYS, ge=1, le=ROWS_DAYS)  # of its rows in ClickHouse
    limits: TenantLimits = TenantLimits()


class EgressSettings(Part):
    """Where messages may go besides public addresses: a host, host:port, CIDR or CIDR:port each."""

    allow: tuple[str, ...] = Field(default=(), strict=False)
    apprise: bool = False  # channels by apprise too, which connects by itself, to no address that we checked


class ActionSettings(Part):
    """Whether rules may run actions here, and which programs they may start."""

    enabled: bool = True
    commands: tuple[Annotated[str, AfterValidator(program_form)], ...] = Field(default=(), strict=False)


class ClickHouseSettings(Part):
    """Which ClickHouse server keeps the rows; without `url`, the one within flowgauge (chDB), in the data folder."""

    url: Annotated[str, AfterValidator(server_url_form)] = Field(default="", max_length=2_000)
    user: str = Field(default="default", min_length=1)
    password: SecretRef | None = None
    database: str = Field(default="flowgauge", pattern=DATABASE_NAME)
    ca: Path | None = Field(default=None, strict=False)  # PEM file of who signed its certificate
    # Empty: one server. The name of a cluster: the tables are made on each of its replicas. "cloud": ClickHouse Cloud.
    cluster: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")


class QuestionSettings(Part):
    """How much the console asks ClickHouse at a time, and for how long it remembers an answer."""

    running: int = Field(default=4, ge=1, le=QUESTIONS_RUNNING_MAX)  # at a time, in all
    tenant_running: int = Field(default=2, ge=1, le=QUESTIONS_RUNNING_MAX)  # at a time, of one tenant
    tenant_waiting: int = Field(default=32, ge=0, le=QUESTIONS_WAITING_MAX)  # for a turn, of one tenant
    wait: Duration = "10s"  # for a turn
    fresh: Annotated[str, AfterValidator(span_form)] = "2s"  # an answer is given again for so long; 0s: never


class KafkaSettings(Part):
    """Which brokers carry the log in production, and how they and we know each other."""

    bootstrap: str = ""  # host:port, or several separated by commas; empty: the log is a file
    prefix: str = Field(default="flowgauge", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    replication: int = Field(default=3, ge=1, le=REPLICATION_MAX)  # brokers that hold each record
    instance: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,200}$")  # empty: the name of the host
    session: Duration = "6s"  # a process that was silent for so long is dead to its group
    heartbeat: Duration = "2s"
    transaction_timeout: Duration = "15s"  # an open transaction of a dead process holds readers back no longer
    tls: bool = False
    ca: str = ""  # the certificates to believe; empty: those of the system
    certificate: str = ""  # our own, for brokers that ask for one
    key: str = ""
    sasl: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    username: str = ""
    password: SecretRef | None = None
    token: SecretRef | None = None  # read again at each connection: it may be renewed meanwhile
    client: dict[KafkaClientSetting, int] = {}

    @property
    def problem(self) -> tuple[str, str]:
        """The first setting that contradicts the others, and how; empty when none does."""
        if 3 * parse_duration_ms(self.heartbeat) > parse_duration_ms(self.session):
            return "heartbeat", "expected at most a third of kafka.session (one may be lost without harm)"
        if (self.ca or self.certificate or self.key) and not self.tls:
            return "tls", "certificates are named but tls is off (write tls = true)"
        if self.sasl == "OAUTHBEARER" and self.token is None:
            return "token", 'OAUTHBEARER needs one (write token = { file = "PATH" })'
        if self.sasl not in ("", "OAUTHBEARER") and not (self.username and self.password):
            return "password", f'{self.sasl} needs a username and password = {{ env = "VARIABLE" }}'
        if not self.sasl and (self.username or self.password or self.token):
            return "sasl", 'a username or secret is named but no mechanism (write sasl = "SCRAM-SHA-512")'
        return "", ""


class QuarantineSettings(Part):
    """How many events of a partition may go to the dlq before the sink stops there."""

    run_max: int = Field(default=1_000, ge=1)  # in a row
    percent_max: int = Field(default=20, ge=1, le=100)  # of the last `span` events; 100: only the row counts
    letters_min: int = Field(default=500, ge=1)  # fewer in that span stop nothing
    span: int = Field(default=10_000, ge=8, le=100_000_000)
    go_on: tuple[Annotated[str, Field(pattern=PLACE)], ...] = Field(default=(), strict=False)  # places to pass
