"""A mail server on loopback: aiosmtpd, which has bad days as told, with certificates of an authority of its own."""

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from typing import Any, cast

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

NAME = "mail.example"
USER, PASSWORD = "flowgauge", "p4ssw0rd"


@dataclass
class MailServer:
    """Keeps what it takes; `replies` stand in line for each step, an empty one is a yes."""

    mailboxes: Sequence[str] = ("ops@example.com", "leads@example.com")
    replies: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # by MAIL, RCPT, DATA
    needs_login: bool = False
    size_max: int = 1_000_000
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    senders: list[str] = field(default_factory=list[str])
    taken_by: list[list[str]] = field(default_factory=list[list[str]])
    port: int = 0
    authority: trustme.CA = field(default_factory=trustme.CA)

    async def handle_MAIL(self, _server: SMTP, _session: Session, envelope: Envelope, *told: Any) -> str:  # noqa: N802
        """Take a sender; the name is aiosmtpd's, as that of the others."""
        if reply := self._reply("MAIL"):
            return reply
        envelope.mail_from, options = told
        envelope.mail_options.extend(options)
        return "250 2.1.0 ok"

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, *told: Any) -> str:  # noqa: N802
        """Take a recipient who has a mailbox."""
        if reply := self._reply("RCPT"):
            return reply
        if told[0] not in self.mailboxes:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(told[0])
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail; `drop` takes it and breaks off."""
        reply = self._reply("DATA")
        if reply and reply != "drop":
            return reply
        self._keep(envelope)
        if reply == "drop":
            cast("asyncio.Transport", server.transport).abort()
        return "250 2.0.0 taken"

    def authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, *login: Any) -> AuthResult:
        """Let in whom the tests know."""
        is_known = login[1] == LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=is_known, handled=False)

    def trusted(self) -> ssl.SSLContext:
        """Return a context that trusts this server's authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]  # pyOpenSSL is not here
        return context

    @contextlib.asynccontextmanager
    async def running(self, *, tls: str = "starttls", name: str = NAME) -> AsyncGenerator["MailServer"]:
        """Serve, with TLS when it is asked for (`starttls`), from the beginning (`tls`) or never (`none`)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self.authority.issue_cert(name)
        certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]  # pyOpenSSL is not here
        loop = asyncio.get_running_loop()

        def protocol() -> SMTP:
            with warnings.catch_warnings(action="ignore"):  # of a login over TLS that it did not begin itself
                return serving()

        def serving() -> SMTP:
            return SMTP(
                self,
                hostname=NAME,
                ident="test",
                data_size_limit=self.size_max,
                tls_context=context if tls == "starttls" else None,
                authenticator=self.authenticate,
                auth_required=self.needs_login,
                auth_require_tls=tls == "starttls",
                loop=loop,
            )

        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if tls == "tls" else None)
        self.port = int(server.sockets[0].getsockname()[1])
        async with server:
            yield self

    def _reply(self, step: str) -> str:
        waiting = self.replies.get(step)
        return waiting.pop(0) if waiting else ""

    def _keep(self, envelope: Envelope) -> None:
        content = cast("bytes", envelope.content)
        self.mails.append(message_from_bytes(content, policy=POLICY))
        self.senders.append(envelope.mail_from or "")
        self.taken_by.append(list(envelope.rcpt_tos))
