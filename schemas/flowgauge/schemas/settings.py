"""Settings: flowgauge.toml < environment FLOWGAUGE_* < flags, read once and passed down.

    data = "/var/lib/flowgauge"
    retention_days = 7

    [tenants.acme]
    tokens = [{ env = "ACME_TOKEN" }, { file = "/run/secrets/acme" }]

    [egress]
    allow = ["alerts.internal:8080"]

    [clickhouse]
    url = "https://clickhouse.internal:8443"
    password = { env = "CLICKHOUSE_PASSWORD" }

A name that nobody knows is an error with the nearest known name as remedy. A secret never stands in the file, only
where it is found. `load_settings` reads the one file; all else here is pure.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.setting_forms import public_url_form, run_url_form
from flowgauge.schemas.setting_parts import (
    DATABASE_NAME,
    PLACE,
    ActionSettings,
    ClickHouseSettings,
    Duration,
    EgressSettings,
    KafkaClientSetting,
    KafkaSettings,
    LimitSettings,
    Part,
    QuarantineSettings,
    QuestionSettings,
    SecretFromEnv,
    SecretRef,
    Tenant,
    TenantLimits,
)
from flowgauge.schemas.times import parse_duration_ms

SETTINGS_FILE = "flowgauge.toml"  # read from the present folder when no other file is named
SETTINGS_BYTES_MAX = 1_048_576  # a settings file is written by hand; more is another file
PARTITIONS_MAX = 256  # each is watched for the clock; more would be a topic of many machines
RETENTION_DAYS_MAX = 3_650
SECRET_CHARS_MAX = 4_096
TOKENS_IN_FILE_MAX = 16  # of one tenant: the old and the new, and some
TOKEN_CHARS_MIN = 8  # of a line of a token file: a shorter one is a slip, and soon guessed
ENV_PREFIX: Final = "FLOWGAUGE_"
_PUBLISHERS = ("TENANT", "PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE")  # that write to Kafka themselves
# Where clients publish to and ask; no settings.
CLIENT_VARIABLES = ("FLOWGAUGE_URL", "FLOWGAUGE_TOKEN", *(f"FLOWGAUGE_KAFKA_{name}" for name in _PUBLISHERS))
ANY_TENANT: Final = "*"  # what rule files call every tenant; no tenant's name

# In the environment, entries are separated by commas.
_ENV_LISTS = ("egress.allow", "actions.commands", "quarantine.go_on")
_ENV_SECRETS = ("clickhouse.password",)  # in the environment, the variable holds the secret itself
_SERVICE_LINKS = ("tcp://", "udp://")  # Kubernetes' word of a service, such as one called flowgauge-clickhouse
_ENV_TRUTHS = ("actions.enabled", "egress.apprise", "kafka.tls")
_TABLES = ("limits", "egress", "actions", "clickhouse", "questions", "kafka", "quarantine")
_SECRET_FORMS = '{ env = "VARIABLE" } or { file = "PATH" }'  # noqa: S105  # how to write one
_FILE_ONLY = ("tenants", "kafka.password", "kafka.token", "kafka.client")
_KAFKA_SECRETS = ("password", "token")
_TOML_REMEDY = 'write name = value: text in quotes, lists as ["a", "b"], tables as [name]'


class Settings(Part):
    """What one flowgauge process runs with."""

    data: Path = Field(default=Path(".flowgauge"), strict=False)
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=4280, ge=0, le=65_535)  # 0 asks the system for a free one
    partitions: int = Field(default=1, ge=1, le=PARTITIONS_MAX)
    samples_partitions: int = Field(default=1, ge=1, le=PARTITIONS_MAX)
    rules: Path | None = Field(default=None, strict=False)  # the watched folder of rule and channel files
    prices: Path | None = Field(default=None, strict=False)  # the watched file of what runs cost and whose they are
    hooks: Path | None = Field(default=None, strict=False)  # the watched file of webhooks that come in
    retention_days: int = Field(default=7, ge=1, le=RETENTION_DAYS_MAX)  # of the log; ClickHouse has its own
    max_alert_age: Duration = "1h"  # an alert older than this at first sight is recorded, not told
    # Where people reach the console: links in messages lead there. Empty: where it listens.
    public_url: Annotated[str, AfterValidator(public_url_form)] = Field(default="", max_length=2_000)
    # Where the orchestrator shows a run, with {run} and perhaps {flow} to fill in: failing runs link there.
    run_url: Annotated[str, AfterValidator(run_url_form)] = Field(default="", max_length=2_000)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tenants: dict[str, Tenant] = Field(default={})
    operator: str = ""  # the tenant whose tokens also see what is of all tenants: measurements and problems
    limits: LimitSettings = LimitSettings()
    egress: EgressSettings = EgressSettings()
    actions: ActionSettings = ActionSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    questions: QuestionSettings = QuestionSettings()
    kafka: KafkaSettings = KafkaSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    _file: str = PrivateAttr(default="")

    @property
    def file(self) -> str:
        """The file that was read for these, "" when there was none."""
        return self._file

    def note_file(self, file: str) -> None:
        """Note which file was read."""
        self._file = file

    @property
    def max_alert_age_ms(self) -> int:
        """`max_alert_age` in ms."""
        return parse_duration_ms(self.max_alert_age)

    @property
    def retention_ms(self) -> int:
        """`retention_days` in ms."""
        return self.retention_days * 86_400_000

    def refuse_open_host(self) -> None:
        """Raise InvalidSettings when others could reach this process and it would believe anybody."""
        if not self.tenants and not is_loopback(self.host):
            raise InvalidSettings(
                f"host: {self.host!r} can be reached from other machines and no tokens are configured"
                ' (use --host 127.0.0.1, or add [tenants.NAME] with tokens = [{ env = "VARIABLE" }]'
                f" to {SETTINGS_FILE})"
            )


def load_settings(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Return the settings of `file`, overridden by `environ`, overridden by the flags that are not None.

    Without `file`, flowgauge.toml of the present folder is read if there is one. Flags have the names of settings
    (`port`, `egress.allow`). Raises InvalidSettings that names every mistake, its place and its remedy.
    """
    if file is None and not Path(SETTINGS_FILE).is_file():
        return parse_settings("", SETTINGS_FILE, environ, flags)
    file = file or Path(SETTINGS_FILE)
    settings = parse_settings(_read(file), str(file), environ, flags)
    settings.note_file(str(file))
    return settings


def parse_settings(text: str, place: str, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Do what `load_settings` does with the `text` of a file that messages call `place`."""
    try:
        written: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{place}: not TOML: {error} ({_TOML_REMEDY})") from None
    places: dict[str, str] = {}
    problems: list[str] = []
    for name, value in _from_environ(environ, problems).items():
        _put(written, name, value)
        places[name] = f"environment: {_variable(name)}"
    for name, value in flags.items():
        if value is not None:
            _put(written, name, value)
            places[name] = "--" + name.replace("_", "-").replace(".", "-")
    return _validated(written, place, places, problems)


def resolve_secret(ref: SecretRef, environ: Mapping[str, str], read_text: Callable[[str], str]) -> str:
    """Return the secret that `ref` points to, without white space around it. Raises InvalidSettings, never with it."""
    return _one_secret(_read_secret(ref, environ, read_text), _where(ref))


def resolve_tokens(
    settings: Settings, environ: Mapping[str, str], read_text: Callable[[str], str]
) -> Mapping[str, str]:
    """Return token → tenant; a file may hold several tokens, one a line.

    Raises InvalidSettings when two tenants share one: whose events would they be.
    """
    entries: dict[str, str] = {}
    for name, tenant in settings.tenants.items():
        for at, ref in enumerate(tenant.tokens):
            place = f"{settings.file or SETTINGS_FILE}: tenants.{name}.tokens.{at}"
            try:
                tokens = _tokens(ref, environ, read_text)
            except InvalidSettings as error:
                raise InvalidSettings(f"{place}: {error}") from None
            for token in tokens:
                if entries.get(token, name) != name:
                    raise InvalidSettings(f"{place}: tenant {entries[token]!r} has the same token (give each its own)")
                entries[token] = name
    return entries


def resolve_password(settings: Settings, environ: Mapping[str, str], read_text: Callable[[str], str]) -> str:
    """Return the password of the ClickHouse server, "" when none is named. Raises InvalidSettings, never with it."""
    ref = settings.clickhouse.password
    if ref is None:
        return ""
    try:
        return resolve_secret(ref, environ, read_text)
    except InvalidSettings as error:
        raise InvalidSettings(f"{settings.file or SETTINGS_FILE}: clickhouse.password: {error}") from None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens at `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _tokens(ref: SecretRef, environ: Mapping[str, str], read_text: Callable[[str], str]) -> list[str]:
    where = _where(ref)
    text = _read_secret(ref, environ, read_text)
    if isinstance(ref, SecretFromEnv):
        return [_one_secret(text, where)]
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if len(lines) > TOKENS_IN_FILE_MAX:
        raise InvalidSettings(f"{where} holds {len(lines)} tokens, at most {TOKENS_IN_FILE_MAX} are read")
    return [_token(line, f"{where} line {number}") for number, line in lines] or [_one_secret("", where)]


def _token(line: str, where: str) -> str:
    token = _one_secret(line, where)
    if len(token) < TOKEN_CHARS_MIN or not token.isascii() or " " in token:
        said = f"at least {TOKEN_CHARS_MIN} visible ASCII characters, no space among them; # begins a comment"
        raise InvalidSettings(f"{where} is no token: expected {said}")
    return token


def _where(ref: SecretRef) -> str:
    return f"environment variable {ref.env}" if isinstance(ref, SecretFromEnv) else f"file {ref.file}"


def _read_secret(ref: SecretRef, environ: Mapping[str, str], read_text: Callable[[str], str]) -> str:
    if isinstance(ref, SecretFromEnv):
        return environ.get(ref.env, "")
    try:
        return read_text(ref.file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidSettings(f"{_where(ref)} cannot be read: {reason} (make it readable for flowgauge)") from None


def _one_secret(text: str, where: str) -> str:
    secret = text.strip()
    if not secret:
        raise InvalidSettings(f"{where} is not set or empty (set it where flowgauge is started)")
    if len(secret) > SECRET_CHARS_MAX or not secret.isprintable():
        raise InvalidSettings(f"{where} is not one line of at most {SECRET_CHARS_MAX} characters")
    return secret


def _read(file: Path) -> str:
    try:
        raw = file.read_bytes()
        if len(raw) > SETTINGS_BYTES_MAX:
            raise InvalidSettings(f"{file}: {len(raw)} bytes, at most {SETTINGS_BYTES_MAX} are read")
        return raw.decode()
    except OSError as error:
        raise InvalidSettings(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{file}: not UTF-8 at byte {error.start}") from None


def _known_names() -> list[str]:
    names: list[str] = []
    for name, field in Settings.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Part):
            names += [f"{name}.{inner}" for inner in part.model_fields]
        else:
            names.append(name)
    return names


def _variable(name: str) -> str:
    return ENV_PREFIX + name.replace(".", "_").upper()


def _from_environ(environ: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    """Return the settings in `environ`. Other names with our prefix may be anybody's, unless they look mistyped."""
    known = {_variable(name): name for name in _known_names() if name not in _FILE_ONLY}
    found: dict[str, object] = {}
    for variable in sorted(environ):
        if variable in known:
            try:
                found[known[variable]] = _from_text(known[variable], environ[variable])
            except InvalidSettings as error:
                problems.append(str(error))
        elif environ[variable].startswith(_SERVICE_LINKS):
            continue
        elif near := _mistyped(variable, [*known, *CLIENT_VARIABLES]):
            problems.append(f"environment: {variable}: unknown setting (did you mean {near}?)")
    return found


def _mistyped(variable: str, known: list[str]) -> str | None:
    if not variable.startswith(ENV_PREFIX) or variable in known:
        return None
    return next(iter(get_close_matches(variable, known, n=1, cutoff=0.85)), None)


def _from_text(name: str, text: str) -> object:
    if name in _ENV_SECRETS:
        return {"env": _variable(name)}
    if name in _ENV_LISTS:
        return [entry.strip() for entry in text.split(",") if entry.strip()]
    if name in _ENV_TRUTHS and text in ("true", "false"):
        return text == "true"
    if _is_number(name):
        try:
            return int(text)
        except ValueError:
            # Kubernetes sets FLOWGAUGE_PORT=tcp://… in every pod beside a service called flowgauge.
            hint = ", or turn off enableServiceLinks in Kubernetes" if "://" in text else ""
            raise InvalidSettings(
                f"environment: {_variable(name)}: expected a whole number, got {text!r} (correct or unset it{hint})"
            ) from None
    return text


def _is_number(name: str) -> bool:
    table, _, last = name.rpartition(".")
    part = Settings.model_fields[table].annotation if table else Settings
    return isinstance(part, type) and issubclass(part, BaseModel) and part.model_fields[last].annotation is int


def _put(written: dict[str, Any], name: str, value: object) -> None:
    *tables, last = name.split(".")
    for table in tables:
        inner = written.setdefault(table, {})
        if not isinstance(inner, dict):
            return  # validation says that a table was expected
        written = cast("dict[str, Any]", inner)
    written[last] = value


def _validated(written: dict[str, Any], place: str, places: Mapping[str, str], problems: list[str]) -> Settings:
    """Return what was written; raise InvalidSettings with every mistake, the `problems` first."""
    plain = _plain_secrets(written)
    problems += (f"{place}: {message}" for message in plain)
    try:
        settings = Settings.model_validate(written)
    except ValidationError as error:
        told = tuple(f"{place}: {message.partition(':')[0]}:" for message in plain)
        found = dict.fromkeys(_problem(detail, place, places) for detail in error.errors(include_url=False))
        problems += (each for each in found if not each.startswith(told))
        raise InvalidSettings("\n".join(problems)) from None
    problems += _contradictions(settings, place, places)
    if problems:
        raise InvalidSettings("\n".join(problems))
    return settings


def _contradictions(settings: Settings, place: str, places: Mapping[str, str]) -> Iterator[str]:
    for name in settings.tenants:
        if not name.strip() or len(name) > NAME_MAX or name == ANY_TENANT:
            yield f"{place}: tenants: {name[:64]!r} is no tenant's name (use letters, such as acme)"
    if settings.operator and settings.operator not in settings.tenants:
        where = places.get("operator", f"{place}: operator")
        name = settings.operator[:64]
        yield f"{where}: no tenant is called {name!r} (name one of those under [tenants])"
    if not settings.clickhouse.url and settings.clickhouse.model_fields_set - {"url"}:
        name = f"clickhouse.{min(settings.clickhouse.model_fields_set - {'url'})}"
        where = places.get(name, f"{place}: {name}")
        yield f"{where}: belongs to a server, and none is named (add clickhouse.url, or remove it)"
    if settings.clickhouse.cluster == "cloud" and settings.clickhouse.url.startswith("http:"):
        where = places.get("clickhouse.url", f"{place}: clickhouse.url")
        yield f"{where}: ClickHouse Cloud speaks TLS alone (write https://HOST:8443)"
    if problem := settings.kafka.problem[1]:
        name = f"kafka.{settings.kafka.problem[0]}"
        yield f"{places.get(name, f'{place}: {name}')}: {problem}"


def _plain_secrets(written: Mapping[str, Any]) -> list[str]:
    """Return a message for each secret that stands in the file itself, without telling it."""
    messages: list[str] = []
    tenants: object = written.get("tenants")
    for name, tenant in cast("dict[str, Any]", tenants if isinstance(tenants, dict) else {}).items():
        tokens: object = cast("dict[str, Any]", tenant).get("tokens") if isinstance(tenant, dict) else None
        entries = cast("list[object]", tokens) if isinstance(tokens, list) else [tokens]
        if any(isinstance(token, str) for token in entries):
            messages.append(
                f"tenants.{name}.tokens: a secret does not stand in the file"
                ' (write [{ env = "VARIABLE" }] or [{ file = "PATH" }])'
            )
    clickhouse: object = written.get("clickhouse")
    if isinstance(clickhouse, dict) and isinstance(cast("dict[str, Any]", clickhouse).get("password"), str):
        messages.append(f"clickhouse.password: a secret does not stand in the file (write {_SECRET_FORMS})")
    kafka: object = written.get("kafka")
    messages += [
        f"kafka.{name}: a secret does not stand in the file (write {_SECRET_FORMS})"
        for name in _KAFKA_SECRETS
        if isinstance(kafka, dict) and isinstance(cast("dict[str, Any]", kafka).get(name), str)
    ]
    return messages


def _problem(detail: ErrorDetails, place: str, places: Mapping[str, str]) -> str:
    parts = [str(part) for part in detail["loc"]]
    if "tokens" in parts:
        name = ".".join(parts[: parts.index("tokens") + 1])
        return f"{place}: {name}: expected a list of {_SECRET_FORMS}"
    if parts[:2] == ["clickhouse", "password"]:
        return f"{place}: clickhouse.password: expected {_SECRET_FORMS}"
    if parts[0] == "kafka" and len(parts) > 1 and parts[1] in _KAFKA_SECRETS:
        return f"{place}: kafka.{parts[1]}: expected {_SECRET_FORMS}"
    if parts[:2] == ["kafka", "client"] and parts[-1] == "[key]":
        return (
            f"{place}: kafka.client.{parts[2]}: unknown setting (known are: {', '.join(get_args(KafkaClientSetting))})"
        )
    name = ".".join(parts)
    where = next((p for n, p in places.items() if f"{name}.".startswith(f"{n}.")), f"{place}: {name}")
    if detail["type"] == "extra_forbidden":
        known = _names_beside(parts)
        tables = _TABLES if len(parts) == 1 else ()  # a mistyped table is no name of a setting in it
        near = get_close_matches(name, [*known, *tables], n=1) or [each for each in known if each.endswith(f".{name}")]
        remedy = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
        return f"{where}: unknown setting ({remedy})"
    return f"{where}: {_expected(detail)}"


def _expected(detail: ErrorDetails) -> str:
    bounds = detail.get("ctx", {})
    forms = {
        "int_type": "expected a whole number without quotes",
        "greater_than_equal": f"expected at least {bounds.get('ge')}",
        "less_than_equal": f"expected at most {bounds.get('le')}",
        "literal_error": f"expected {bounds.get('expected')}",
        "bool_type": "expected true or false without quotes",
        "string_pattern_mismatch": {
            DATABASE_NAME: "expected letters, digits and _, such as flowgauge",
            PLACE: "expected a place as the sink tells it, such as flowgauge.events-0@1234",
        }.get(str(bounds.get("pattern")), "expected letters, digits, dots, dashes and underscores"),
        "model_type": "expected a table, such as [egress]",
        "model_attributes_type": "expected a table, such as [egress]",
        "dict_type": "expected tables, such as [tenants.acme]",
        "tuple_type": 'expected a list, such as ["a", "b"]',
        "string_type": "expected text in quotes",
        "path_type": "expected a path in quotes",
        "string_too_short": "expected a text that is not empty",
    }
    message = forms.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    return message if "got " in message else f"{message}, got {detail['input']!r}"


def _names_beside(parts: list[str]) -> list[str]:
    if parts[0] == "tenants":
        fields = TenantLimits.model_fields if parts[2:3] == ["limits"] else Tenant.model_fields
        return [".".join([*parts[:-1], name]) for name in fields]
    return _known_names()
