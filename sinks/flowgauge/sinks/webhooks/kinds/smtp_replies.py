"""What the replies of a mail server mean, by the step that they answer (RFC 5321, RFC 4954, RFC 3463).

    step         4xx      5xx
    connecting   failed   failed: we are not welcome, which somebody can change there
    login        failed   failed: somebody has to correct `user` or `password`
    sender       failed   dead, but 530 and 538, which ask for a login or for TLS: failed
    recipient    failed   dead: no such mailbox
    message      failed   dead: too big, or refused for what it says

A mail is delivered as soon as one of its recipients is taken: told again, it would come twice to those.
"""

from collections.abc import Sequence
from typing import Literal

from flowgauge.sinks.webhooks.schedule import Verdict

Step = Literal["connecting", "login", "sender", "recipient", "message"]

LOGIN_REFUSED = "mail server refused the login"
LOGIN_NEEDED = "mail server asks for a login"
NO_LOGIN = "mail server offers no login that we know"
NO_STARTTLS = "mail server offers no TLS"
NO_SMTP = "mail server does not keep to its protocol"
SOME_REFUSED = "some recipients were refused"

_DEAD = {
    "sender": "refused: mail server does not take the sender",
    "recipient": "refused: no such mailbox",
    "message": "refused: mail server does not take the message",
}
TOO_BIG = 552  # also said to the sender, whose command names the size (RFC 1870)
_WANTS_LOGIN = frozenset({530, 534, 535, 538})


def judge_reply(step: Step, code: int) -> Verdict:
    """Return what a reply other than 2xx and 3xx means."""
    if code in _WANTS_LOGIN or step == "login":
        return Verdict("failed", LOGIN_NEEDED if code in {530, 538} else LOGIN_REFUSED, code)
    if step == "sender" and code == TOO_BIG:
        step = "message"
    if not 400 <= code < 600:
        return Verdict("failed", NO_SMTP)
    if code >= 500 and step in _DEAD:
        return Verdict("dead", _DEAD[step], code)
    return Verdict("failed", f"mail server answered {code // 100}xx", code)


def judge_recipients(codes: Sequence[int]) -> Verdict:
    """Return what it means that every recipient was refused: tried again where one may be taken later."""
    verdicts = [judge_reply("recipient", code) for code in codes]
    return next((verdict for verdict in verdicts if verdict.outcome == "failed"), verdicts[0])
