"""The mail that tells of a notice: plain text, and the same as simple HTML.

All mails about one incident are one thread: they answer one another by a message id made of the incident's, and have
one subject, without which some readers break the thread. What happened stands in the first line of the text. Headers
are made of single lines without control characters, addresses are checked when they are read.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.plain_text import PlainText, plain_text
from flowgauge.sinks.webhooks.kinds.wording import cut, is_group, plain

SUBJECT_CHARS_MAX = 150

_POLICY = SMTP.clone(cte_type="7bit")  # every server takes it
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@.{{1,189}}$){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")


def address_form(text: str) -> str:
    """Return an address as it is written; raise ValueError for what is none."""
    if _ADDRESS.fullmatch(text):
        return text
    raise ValueError("expected a plain address such as data-oncall@example.com, in ASCII")


def domain_of(address: str) -> str:
    """Return what stands behind the @."""
    return address.rpartition("@")[2]


def mail_of(notice: Notice, sender: str, recipients: Sequence[str], *, now_ms: int) -> EmailMessage:
    """Return the mail, the same for every attempt but for its date."""
    text = plain_text(notice)
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _subject(notice, text)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
    mail["Message-ID"] = _message_id(f"delivery-{notice.delivery_id}", sender)
    if not is_group(notice):
        root = _message_id(f"incident-{notice.transition.incident_id}", sender)
        mail["In-Reply-To"] = root
        mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(f"{text.title}\n\n{text}\n")
    mail.add_alternative(_html(text), subtype="html")
    return mail


def _subject(notice: Notice, text: PlainText) -> str:
    if is_group(notice):
        return cut(text.title, SUBJECT_CHARS_MAX)
    transition = notice.transition
    key = plain(", ".join(transition.key.values()))
    return cut(plain(transition.rule) + (f": {key}" if key else ""), SUBJECT_CHARS_MAX)


def _message_id(name: str, sender: str) -> str:
    return f"<{re.sub('[^A-Za-z0-9]', '-', name)}@{domain_of(sender)}>"


def _html(text: PlainText) -> str:
    paragraphs = ("<p>" + "<br>\n".join(map(escape, lines)) + "</p>" for lines in text.paragraphs)
    links = (
        f'<p><a href="{escape(address)}">{escape(name)}</a></p>'
        for name, address in text.links
        if address.startswith(("https://", "http://"))
    )
    body = "\n".join((f"<h3>{escape(text.title)}</h3>", *paragraphs, *links))
    return f"<!DOCTYPE html>\n<html>\n<body>\n{body}\n</body>\n</html>\n"
