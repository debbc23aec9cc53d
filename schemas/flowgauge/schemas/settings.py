"""Settings: flowgauge.toml < environment FLOWGAUGE_* < flags, read once and passed down.

    data = "/var/lib/flowgauge"
    retention_days = 7

    [tenants.acme]
    tokens = [{ env = "ACME_TOKEN" }, { file = "/run/secrets/acme" }]

    [egress]
    allow = ["alerts.internal:8080"]

A name that nobody knows is an error with the nearest known name as remedy. A secret never stands in the file, only
where it is found. `load_settings` reads the one file; all else here is pure.
"""

import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.times import parse_duration_ms

SETTINGS_FILE = "flowgauge.toml"  # read from the present folder when no other file is named
SETTINGS_BYTES_MAX = 1_048_576  # a settings file is written by hand; more is another file
PARTITIONS_MAX = 256  # each is watched for the clock; more would be a topic of many machines
RETENTION_DAYS_MAX = 3_650
SECRET_CHARS_MAX = 4_096
ENV_PREFIX: Final = "FLOWGAUGE_"
CLIENT_VARIABLES = ("FLOWGAUGE_URL", "FLOWGAUGE_TOKEN")  # where clients publish to and ask; no settings
ANY_TENANT: Final = "*"  # what rule files call every tenant; no tenant's name

_ENV_LISTS = ("egress.allow",)  # in the environment, entries are separated by commas


def _duration(text: str) -> str:
    if parse_duration_ms(text) == 0:
        raise ValueError(f"expected a duration above zero, got {text!r}")
    return text


def _public_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable() and " " not in text
    except ValueError:
        is_url = False
    if text and not is_url:
        raise ValueError(f"expected the console's address, such as https://flowgauge.example.com, got {text!r}")
    return text


Duration: TypeAlias = Annotated[str, AfterValidator(_duration)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SecretFromEnv(_Part):
    """A secret in an environment variable."""

    env: str = Field(min_length=1)


class SecretFromFile(_Part):
    """A secret that is all of a file, without the white space around it."""

    file: str = Field(min_length=1)


SecretRef: TypeAlias = SecretFromEnv | SecretFromFile


class Tenant(_Part):
    """Whose events a token brings in."""

    tokens: tuple[SecretRef, ...] = Field(min_length=1, strict=False)


class EgressSettings(_Part):
    """Where webhooks may go besides public addresses: a host, host:port, CIDR or CIDR:port each."""

    allow: tuple[str, ...] = Field(default=(), strict=False)


class Settings(_Part):
    """What one flowgauge process runs with."""

    data: Path = Field(default=Path(".flowgauge"), strict=False)
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=4280, ge=0, le=65_535)  # 0 asks the system for a free one
    partitions: int = Field(default=1, ge=1, le=PARTITIONS_MAX)
    samples_partitions: int = Field(default=1, ge=1, le=PARTITIONS_MAX)
    rules: Path | None = Field(default=None, strict=False)  # the watched folder of rule and channel files
    retention_days: int = Field(default=7, ge=1, le=RETENTION_DAYS_MAX)  # of the log; ClickHouse has its own
    max_alert_age: Duration = "1h"  # an alert older than this at first sight is recorded, not told
    # Where people reach the console: links in messages lead there. Empty: where it listens.
    public_url: Annotated[str, AfterValidator(_public_url)] = Field(default="", max_length=2_000)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tenants: dict[str, Tenant] = {}
    operator: str = ""  # the tenant whose tokens also see what is of all tenants: measurements and problems
    egress: EgressSettings = EgressSettings()
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
        raise InvalidSettings(f"{place}: not TOML: {error}") from None
    places: dict[str, str] = {}
    for name, value in _from_environ(environ).items():
        _put(written, name, value)
        places[name] = f"environment: {_variable(name)}"
    for name, value in flags.items():
        if value is not None:
            _put(written, name, value)
            places[name] = "--" + name.replace("_", "-").replace(".", "-")
    return _validated(written, place, places)


def resolve_secret(ref: SecretRef, environ: Mapping[str, str], read_text: Callable[[str], str]) -> str:
    """Return the secret that `ref` points to, without white space around it. Raises InvalidSettings, never with it."""
    if isinstance(ref, SecretFromEnv):
        where = f"environment variable {ref.env}"
        secret = environ.get(ref.env, "")
    else:
        where = f"file {ref.file}"
        try:
            secret = read_text(ref.file)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InvalidSettings(f"{where} cannot be read: {reason} (make it readable for flowgauge)") from None
    secret = secret.strip()
    if not secret:
        raise InvalidSettings(f"{where} is not set or empty (set it where flowgauge is started)")
    if len(secret) > SECRET_CHARS_MAX or not secret.isprintable():
        raise InvalidSettings(f"{where} is not one line of at most {SECRET_CHARS_MAX} characters")
    return secret


def resolve_tokens(
    settings: Settings, environ: Mapping[str, str], read_text: Callable[[str], str]
) -> Mapping[str, str]:
    """Return token → tenant. Raises InvalidSettings when two tenants share one: whose events would they be."""
    entries: dict[str, str] = {}
    for name, tenant in settings.tenants.items():
        for at, ref in enumerate(tenant.tokens):
            place = f"{settings.file or SETTINGS_FILE}: tenants.{name}.tokens.{at}"
            try:
                token = resolve_secret(ref, environ, read_text)
            except InvalidSettings as error:
                raise InvalidSettings(f"{place}: {error}") from None
            if entries.get(token, name) != name:
                raise InvalidSettings(f"{place}: tenant {entries[token]!r} has the same token (give each its own)")
            entries[token] = name
    return entries


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens at `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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
        if isinstance(part, type) and issubclass(part, _Part):
            names += [f"{name}.{inner}" for inner in part.model_fields]
        else:
            names.append(name)
    return names


def _variable(name: str) -> str:
    return ENV_PREFIX + name.replace(".", "_").upper()


def _from_environ(environ: Mapping[str, str]) -> dict[str, object]:
    """Return the settings in `environ`. Other names with our prefix may be anybody's, unless they look mistyped."""
    known = {_variable(name): name for name in _known_names() if name != "tenants"}
    found: dict[str, object] = {}
    for variable in sorted(environ):
        if variable in known:
            found[known[variable]] = _from_text(known[variable], environ[variable])
        elif near := _mistyped(variable, [*known, *CLIENT_VARIABLES]):
            raise InvalidSettings(f"environment: {variable}: unknown setting (did you mean {near}?)")
    return found


def _mistyped(variable: str, known: list[str]) -> str | None:
    if not variable.startswith(ENV_PREFIX) or variable in known:
        return None
    return next(iter(get_close_matches(variable, known, n=1, cutoff=0.85)), None)


def _from_text(name: str, text: str) -> object:
    if name in _ENV_LISTS:
        return [entry.strip() for entry in text.split(",") if entry.strip()]
    if Settings.model_fields.get(name) and Settings.model_fields[name].annotation is int:
        try:
            return int(text)
        except ValueError:
            # Kubernetes sets FLOWGAUGE_PORT=tcp://… in every pod beside a service called flowgauge.
            hint = ", or turn off enableServiceLinks in Kubernetes" if "://" in text else ""
            raise InvalidSettings(
                f"environment: {_variable(name)}: expected a whole number, got {text!r} (correct or unset it{hint})"
            ) from None
    return text


def _put(written: dict[str, Any], name: str, value: object) -> None:
    *tables, last = name.split(".")
    for table in tables:
        inner = written.setdefault(table, {})
        if not isinstance(inner, dict):
            return  # validation says that a table was expected
        written = cast("dict[str, Any]", inner)
    written[last] = value


def _validated(written: dict[str, Any], place: str, places: Mapping[str, str]) -> Settings:
    if plain := _plain_secrets(written):
        raise InvalidSettings("\n".join(f"{place}: {message}" for message in plain))
    try:
        settings = Settings.model_validate(written)
    except ValidationError as error:
        problems = dict.fromkeys(_problem(detail, place, places) for detail in error.errors(include_url=False))
        raise InvalidSettings("\n".join(problems)) from None
    for name in settings.tenants:
        if not name.strip() or len(name) > NAME_MAX or name == ANY_TENANT:
            raise InvalidSettings(f"{place}: tenants: {name[:64]!r} is no tenant's name (use letters, such as acme)")
    if settings.operator and settings.operator not in settings.tenants:
        where = places.get("operator", f"{place}: operator")
        name = settings.operator[:64]
        raise InvalidSettings(f"{where}: no tenant is called {name!r} (name one of those under [tenants])")
    return settings


def _plain_secrets(written: Mapping[str, Any]) -> list[str]:
    """Return a message for each token that stands in the file itself, without telling it."""
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
    return messages


def _problem(detail: ErrorDetails, place: str, places: Mapping[str, str]) -> str:
    parts = [str(part) for part in detail["loc"]]
    if "tokens" in parts:
        name = ".".join(parts[: parts.index("tokens") + 1])
        return f'{place}: {name}: expected a list of {{ env = "VARIABLE" }} or {{ file = "PATH" }}'
    name = ".".join(parts)
    where = next((p for n, p in places.items() if f"{name}.".startswith(f"{n}.")), f"{place}: {name}")
    if detail["type"] == "extra_forbidden":
        known = _names_beside(parts)
        tables = ["egress"] if len(parts) == 1 else []  # a mistyped table is no name of a setting in it
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
        return [".".join([*parts[:-1], name]) for name in Tenant.model_fields]
    return _known_names()
