"""What every kind of channel has. A kind is the model of what stands under its name in YAML, and tells it.

    Notice ──► ChannelKind.tell(notice, means) ──► Verdict
    what happened   one attempt, within its deadline   delivered, failed (tried again) or dead (given up)

`tell` may raise EgressError, InvalidSettings and TimeoutError: the attempt judges these the same for every kind.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr

from flowgauge.schemas.setting_parts import SecretFromEnv, SecretFromFile, SecretRef
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.addresses import URL_CHARS_MAX, text_fault
from flowgauge.sinks.webhooks.egress import Answer, Egress
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict, judge_answer

ATTEMPT_MS_MAX = 15_000  # from reading the secrets to the end of the answer


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. All but `reference` is the same for every attempt at it."""

    delivery_id: str  # the id under which it goes out
    transitions: tuple[Transition, ...]  # `fitted`, in order; more than one only for a kind that `takes_groups`
    reference: str = ""  # Verdict.reference of what the channel was told of this incident before
    public_url: str = ""  # where people reach the console
    details: tuple[str, ...] = ()  # plain lines for people: last errors, what changed, acts; may be left out
    is_replay: bool = False  # somebody asked for it again

    @property
    def transition(self) -> Transition:
        """The newest."""
        return self.transitions[-1]


@dataclass(frozen=True, slots=True)
class Means:
    """What an attempt may use."""

    egress: Egress
    now_ms: Callable[[], int]
    secrets: Mapping[SecretRef, str] = field(repr=False)
    commands: frozenset[str] = frozenset()  # programs that actions may start here, by absolute path

    def secret(self, ref: SecretRef) -> str:
        """Return what stands where `ref` says."""
        return self.secrets[ref]

    def url(self, written: "UrlRef") -> str:
        """Return the URL that is written, or that stands where it says."""
        return written.get_secret_value() if isinstance(written, SecretStr) else self.secrets[written]


class Written(BaseModel):
    """What people write in YAML; a field that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ChannelKind(Written):
    """How one service is told."""

    retry: ClassVar[RetryClass] = "generic"  # unless the channel says otherwise
    has_details: ClassVar[bool] = True  # it shows Notice.details
    takes_groups: ClassVar[bool] = False  # several incidents fit one message

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """What fails together and is switched off together; it may hold a secret and is never shown."""

    @property
    def attempt_ms_max(self) -> int:
        """How long an attempt may take, from reading the secrets to the end of the answer."""
        return ATTEMPT_MS_MAX

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """Every secret that stands elsewhere, by the field that names it."""
        return {}

    @property
    def urls(self) -> Mapping[str, "UrlRef"]:
        """Every address that messages go to, by its field: it is checked before anything is told."""
        return {}

    @property
    def references(self) -> Mapping[str, SecretRef]:
        """All that stands elsewhere: secrets, and addresses that hold one."""
        addresses = {name: url for name, url in self.urls.items() if not isinstance(url, SecretStr)}
        return {**self.secret_refs, **addresses}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:  # noqa: ARG002  # most take any text
        """Return what is wrong with what the field `name` leads to, without the secret, and the remedy."""
        return None

    @abstractmethod
    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Make one attempt; `attempt_ms_max` ends it from outside."""


def endpoint_of(url: "UrlRef") -> str:
    """Return what tells one endpoint from another: the URL, or where it stands."""
    return url.get_secret_value() if isinstance(url, SecretStr) else repr(url)


def judge(answer: Answer, means: Means, *, permanent: frozenset[int] = frozenset()) -> Verdict:
    """Return what an answer means: 2xx is success, 410 the end of the endpoint, `permanent` refuses this message."""
    if answer.status in permanent:
        return Verdict("dead", f"refused: answered {answer.status}", answer.status, answer.elapsed_ms)
    return judge_answer(
        answer.status,
        retry_after=answer.headers.get("retry-after", ""),
        elapsed_ms=answer.elapsed_ms,
        now_ms=means.now_ms(),
    )


def url_fault(text: str) -> tuple[str] | None:
    """Return what is wrong with a URL to tell, without the URL, which may hold a token; None when nothing is."""
    if fault := text_fault(text):
        return (f"the URL {fault.value}; at most {URL_CHARS_MAX} characters without spaces",)
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"https", "http"} and bool(parts.hostname)
    except ValueError:
        is_url = False
    if is_url:
        return None
    return (f"expected https://HOST/PATH (http only for what egress.allow opens), got {_beginning(text)}",)


def _beginning(text: str) -> str:
    """Say how a text that is no URL for us begins, if that is a scheme: anything else of it may be a secret."""
    scheme, found, _ = text.partition("://")
    if found and scheme.isascii() and scheme.isalpha() and scheme.islower() and len(scheme) <= 8:
        return f"one that begins with {scheme}://" if scheme not in {"http", "https"} else "one without a host"
    return "one that does not begin with https://"


def _says_where(written: object) -> object:
    """Refuse in one sentence, which does not repeat what may be the secret itself."""
    if written is not None and not _is_reference(written):
        raise ValueError("expected where the secret stands: {env: NAME} or {file: PATH}")
    return written


def _is_reference(written: object) -> bool:
    if isinstance(written, SecretFromEnv | SecretFromFile):
        return True
    if not isinstance(written, dict) or len(cast("dict[str, object]", written)) != 1:
        return False
    ((name, place),) = cast("dict[str, object]", written).items()
    return name in {"env", "file"} and isinstance(place, str) and place != ""


def _url_or_place(written: object) -> object:
    if isinstance(written, str) and (fault := url_fault(written)):
        raise ValueError(fault[0])
    if isinstance(written, str | SecretStr) or _is_reference(written):
        return written
    raise ValueError("expected https://HOST/PATH, or where it stands: {env: NAME} or {file: PATH}")


Secret: TypeAlias = Annotated[SecretRef, BeforeValidator(_says_where)]
UrlRef: TypeAlias = SecretStr | SecretRef
Url: TypeAlias = Annotated[UrlRef, BeforeValidator(_url_or_place)]


class AtOneUrl(ChannelKind):
    """A service that is told at the one URL that is written."""

    url: Url

    @property
    def endpoint(self) -> str:
        """The URL."""
        return endpoint_of(self.url)

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """The one."""
        return {"url": self.url}
