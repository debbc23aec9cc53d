"""Mail, by SMTP over a connection to a checked address.

    checked socket ──► TLS ──► login ──► MAIL, RCPT … ──► DATA ──► delivered
                                                            └─ lost here: nobody knows, so it is sent again under the
                                                               same Message-ID
What replies mean stands in `smtp_replies`, what is written in `mail_message`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, ClassVar, Literal

import aiosmtplib
from pydantic import AfterValidator, Field, SecretStr, model_validator

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.sinks.webhooks.addresses import HOST_CHARS_MAX, PLAIN_MAIL, PORT_MAX
from flowgauge.sinks.webhooks.egress import EgressFailed, Failure
from flowgauge.sinks.webhooks.kinds.kind import ATTEMPT_MS_MAX, ChannelKind, Means, Notice, Secret, UrlRef
from flowgauge.sinks.webhooks.kinds.mail_message import address_form, domain_of, mail_of
from flowgauge.sinks.webhooks.kinds.smtp_replies import (
    NO_LOGIN,
    NO_SMTP,
    NO_STARTTLS,
    SOME_REFUSED,
    Step,
    judge_recipients,
    judge_reply,
)
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict

RECIPIENTS_MAX = 50  # every server takes 100 (RFC 5321, 4.5.3.1.8); a list of more is the mail server's own
QUIT_MS_MAX = 1_000  # a message that was taken stays so, whether or not the server says goodbye
SEND_MS_MAX = ATTEMPT_MS_MAX - 2 * QUIT_MS_MAX  # so that goodbye is over before the attempt is
_PORTS = {"starttls": 587, "tls": 465, "none": 25}

_STEPS: Mapping[type[aiosmtplib.SMTPResponseException], Step] = {
    aiosmtplib.SMTPAuthenticationError: "login",
    aiosmtplib.SMTPSenderRefused: "sender",
    aiosmtplib.SMTPDataError: "message",
}

MailAddress = Annotated[str, AfterValidator(address_form)]


class Mail(ChannelKind):
    """A mail to one or more people, by a mail server that takes it from us."""

    retry: ClassVar[RetryClass] = "chat"
    takes_groups: ClassVar[bool] = True

    to: Annotated[
        tuple[MailAddress, ...],
        Field(min_length=1, max_length=RECIPIENTS_MAX, strict=False, description="Who is told, at most 50."),
    ]
    sender: Annotated[MailAddress, Field(alias="from", description="Whom the mail is from.")]
    host: Annotated[str, Field(min_length=1, max_length=HOST_CHARS_MAX, description="The mail server.")]
    port: Annotated[
        int | None, Field(ge=1, le=PORT_MAX, description="Its port, if not the usual one: 587, with tls 465, plain 25.")
    ] = None
    tls: Annotated[
        Literal["starttls", "tls", "none"],
        Field(description="Asked for, from the beginning, or not at all, which egress.allow must open."),
    ] = "starttls"
    user: Annotated[str, Field(max_length=255, description="Of the login.")] = ""
    password: Annotated[Secret | None, Field(description="Where the user's password stands.")] = None

    @property
    def endpoint(self) -> str:
        """The server and who we are there."""
        return f"{self.user} {self._url}"

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """The server."""
        return {"host": SecretStr(self._url)}

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The password, where there is one."""
        return {} if self.password is None else {"password": self.password}

    @model_validator(mode="after")
    def _logs_in_whole(self) -> "Mail":
        if bool(self.user) != (self.password is not None):
            raise ValueError("expected user and password together, or neither")
        return self

    @property
    def _port(self) -> int:
        return self.port or _PORTS[self.tls]

    @property
    def _url(self) -> str:
        scheme = PLAIN_MAIL if self.tls == "none" else "smtp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self._port}"

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Hand the mail to the server."""
        mail = mail_of(notice, self.sender, self.to, now_ms=means.now_ms())
        try:
            async with asyncio.timeout(SEND_MS_MAX / 1000), self._connected(means) as client:
                return await self._send(client, mail.as_bytes(), means)
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as refused:
            return _judged(refused)
        except OSError as error:
            raise EgressFailed(_failure(error)) from None
        except aiosmtplib.SMTPException:
            return Verdict("failed", NO_SMTP)

    @contextlib.asynccontextmanager
    async def _connected(self, means: Means) -> AsyncGenerator[aiosmtplib.SMTP]:
        connected = await means.egress.open_socket(
            self.host, self._port, deadline_ms=SEND_MS_MAX, is_plain=self.tls == "none"
        )
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=None,
            sock=connected,
            use_tls=self.tls == "tls",
            start_tls=False,
            tls_context=means.egress.mail_tls,
            local_hostname=domain_of(self.sender),
            timeout=SEND_MS_MAX / 1000,
        )
        try:
            await client.connect()
            yield client
        finally:
            client.close()  # and with it the socket

    async def _send(self, client: aiosmtplib.SMTP, mail: bytes, means: Means) -> Verdict:
        await client.ehlo()
        if self.tls == "starttls":
            if not client.supports_extension("starttls"):
                return Verdict("failed", NO_STARTTLS)
            await client.starttls()
            await client.ehlo()
        if self.password is not None:
            if not set(client.server_auth_methods) & set(client.AUTH_METHODS):
                return Verdict("failed", NO_LOGIN)
            await client.login(self.user, means.secret(self.password))
        refused, _ = await client.sendmail(self.sender, self.to, mail)
        with contextlib.suppress(aiosmtplib.SMTPException, TimeoutError):
            await client.quit(timeout=QUIT_MS_MAX / 1000)
        return Verdict("delivered", SOME_REFUSED if refused else "", 250)


def _judged(refused: aiosmtplib.SMTPResponseException | aiosmtplib.SMTPRecipientsRefused) -> Verdict:
    if isinstance(refused, aiosmtplib.SMTPRecipientsRefused):
        return judge_recipients([each.code for each in refused.recipients])
    return judge_reply(_STEPS.get(type(refused), "connecting"), refused.code)


def _failure(error: OSError) -> Failure:
    """Return why no reply came: the library wraps what it met."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return Failure.TLS
        seen = seen.__cause__
    return Failure.TIMEOUT if isinstance(error, TimeoutError) else Failure.CUT_SHORT
