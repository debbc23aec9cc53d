"""Which addresses an outgoing connection may reach: a decision without a network, returned with its reason.

A receiver's URL is written by people, so it may point, by mistake or on purpose, at this machine, at its
neighbours or at a cloud's metadata service. The list of closed networks is explicit: the flags of `ipaddress`
differ between Python releases and miss shared, multicast and embedded forms. Of IPv6 only global unicast
(2000::/3) is open at all.

Order of the cases in `EgressPolicy.verdict`, the first that holds decides:
  1. an address with a zone id             refused, it names an interface of ours
  2. a port we listen on, at loopback      refused, whatever `egress.allow` says
  3. an entry of `egress.allow` matches    allowed
  4. the address lies in a closed network  refused (a v4-mapped one by the IPv4 address it carries)
  5. plain http, or mail without TLS       refused, they are only for exceptions
  6. the port is not one of its scheme     refused: webhooks and mail have ports of their own
  7. else                                  allowed
The connection is made by egress.py, to the very address that was checked.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from flowgauge.schemas.settings import SETTINGS_FILE

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = frozenset({80, 443, 8443})  # Where public receivers listen; any other port is an entry of egress.allow.
PLAIN_MAIL = "smtp+plain"  # the scheme of mail that asks for no TLS
MAIL_PORTS = frozenset({25, 465, 587})  # Where mail servers take messages; open to mail only.
PORT_MAX = 65_535
URL_CHARS_MAX = 2_048  # Longer ones are no receivers' addresses, and every log and form can hold this.
HOST_CHARS_MAX = 253  # RFC 1035, as text.
ENTRY_FORMS = "a host, host:port, CIDR or CIDR:port, with IPv6 in brackets before a port"


class Reason(StrEnum):
    """Why a connection is allowed or refused; printed, logged and used as a label."""

    PUBLIC = "public address"
    EXCEPTION = "opened by egress.allow"

    BENCHMARK = "benchmark address"
    CLOUD = "cloud platform address"
    DOCUMENTATION = "documentation address"
    EMBEDDED = "address that carries an IPv4 address inside"
    LINK_LOCAL = "link-local address (cloud metadata lives there)"
    LOOPBACK = "loopback address"
    MULTICAST = "multicast address"
    NOT_GLOBAL = "not a global unicast address"
    OWN = "flowgauge listens there itself"
    PRIVATE = "private address"
    RESERVED = "reserved address"
    SHARED = "shared carrier address"
    THIS_NETWORK = "unspecified address"
    ZONE = "address with a zone id"

    BAD_HOST = "not a host name"
    BAD_PORT = "port is not between 1 and 65535"
    BAD_URL = "not a URL"
    CONTROL = "has a space or control character"
    MAIL_PORT = "port is not 25, 465, 587 or opened by egress.allow"
    NO_HOST = "no host"
    NUMERIC_HOST = "number that is not a plain IPv4 address"
    PLAIN_HTTP = "plain http is only for egress.allow"
    PLAIN_MAIL = "mail without TLS is only for egress.allow"
    PORT = "port is not 80, 443, 8443 or opened by egress.allow"
    SCHEME = "scheme is not https"
    TOO_LONG = "too long"
    UNRESOLVED = "does not resolve"
    USERINFO = "has a user name or password"

    @property
    def refusal(self) -> str:
        """Why a delivery failed, for everybody who may see that: without host, address and remedy."""
        return f"address refused: {self.value}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a connection may be made, and why; `remedy` names the setting that would open it, if one should."""

    allowed: bool
    reason: Reason
    remedy: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Return the reason, with the remedy in parentheses."""
        return self.reason.value + (f" ({self.remedy})" if self.remedy else "")


# What people run on purpose. Nobody is led to open a cloud's metadata service or an address that is no receiver's.
WORTH_OPENING = frozenset(
    {
        *(Reason.LOOPBACK, Reason.PRIVATE, Reason.SHARED),
        *(Reason.PLAIN_HTTP, Reason.PORT, Reason.PLAIN_MAIL, Reason.MAIL_PORT),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL points: the host in lower case, ASCII, without brackets or a final dot; mail's scheme is smtp."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True)
class EgressPolicy:
    """What `egress.allow` of the settings opens, on top of public addresses.

    An entry without a port opens every port. A host entry opens the name, whatever it resolves to; a CIDR
    entry opens the addresses, whatever they are called. Raises ValueError for an entry it cannot read.
    """

    allow: tuple[str, ...] = ()
    apprise: bool = False  # `egress.apprise`: apprise connects by itself
    _openings: tuple["_Opening", ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_openings", tuple(_read_entry(entry) for entry in self.allow))

    def verdict(
        self,
        host: str,
        port: int,
        ip: Address,
        *,
        scheme: str = "https",
        own_ports: AbstractSet[int] = frozenset(),
    ) -> Verdict:
        """Decide on one connection to `ip`, found under `host`; the cases stand in the module's docstring."""
        if fault := _never(port, ip, own_ports):
            return Verdict(allowed=False, reason=fault)
        if any(opening.opens(host, port, ip) for opening in self._openings):
            return Verdict(allowed=True, reason=Reason.EXCEPTION)
        if closed := closed_because(ip) or _unusual(scheme, port):
            return Verdict(allowed=False, reason=closed, remedy=_opening(host, port) if closed in WORTH_OPENING else "")
        return Verdict(allowed=True, reason=Reason.PUBLIC)


def closed_because(ip: Address) -> Reason | None:
    """Say which closed network holds the address; None for a public one."""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return closed_because(ip.ipv4_mapped)
        found = next((reason for network, reason in _CLOSED_V6 if ip in network), None)
        return found or (None if ip in _GLOBAL_UNICAST else Reason.NOT_GLOBAL)
    return next((reason for network, reason in _CLOSED_V4 if ip in network), None)


def text_fault(text: str) -> Reason | None:
    """Refuse what no parser should see: over-long text, spaces, control and other invisible characters."""
    if len(text) > URL_CHARS_MAX:
        return Reason.TOO_LONG
    if any(not char.isprintable() or char.isspace() for char in text):
        return Reason.CONTROL
    return None


def target_of(scheme: str, userinfo: bytes, host: str, port: int | None) -> Target | Reason:
    """Check the parts of a parsed URL before any name is resolved.

    Numbers that only a C library reads as an address (`127.1`, `0x7f.1`, `2130706433`, `0177.0.0.1`) are
    refused here and never reach a resolver.
    """
    if scheme not in _DEFAULT_PORTS:
        return Reason.SCHEME
    if userinfo:
        return Reason.USERINFO
    host = host.lower().removesuffix(".")
    if fault := _host_fault(host):
        return fault
    port = _DEFAULT_PORTS[scheme] if port is None else port
    if not 0 < port <= PORT_MAX:
        return Reason.BAD_PORT
    return Target(scheme=scheme, host=host, port=port)


def literal_of(host: str) -> Address | None:
    """Read a host that is an address already, in its plain form; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Opening:
    """One entry of `egress.allow`: a name or a network, at one port or at all."""

    name: str | None
    network: Network | None
    port: int | None

    def opens(self, host: str, port: int, ip: Address) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return ip.version == self.network.version and ip in self.network
        return self.name == host.lower().removesuffix(".")


_DEFAULT_PORTS = {"https": 443, "http": 80, "smtp": 587, PLAIN_MAIL: 25}
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ENTRY = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<plain>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")

_GLOBAL_UNICAST = IPv6Network("2000::/3")

_CLOSED_V4: tuple[tuple[IPv4Network, Reason], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", Reason.THIS_NETWORK),
        ("10.0.0.0/8", Reason.PRIVATE),
        ("100.64.0.0/10", Reason.SHARED),
        ("127.0.0.0/8", Reason.LOOPBACK),
        ("168.63.129.16/32", Reason.CLOUD),  # Azure's host agent, at an address that looks public.
        ("169.254.0.0/16", Reason.LINK_LOCAL),
        ("172.16.0.0/12", Reason.PRIVATE),
        ("192.0.0.0/24", Reason.RESERVED),
        ("192.0.2.0/24", Reason.DOCUMENTATION),
        ("192.88.99.0/24", Reason.RESERVED),
        ("192.168.0.0/16", Reason.PRIVATE),
        ("198.18.0.0/15", Reason.BENCHMARK),
        ("198.51.100.0/24", Reason.DOCUMENTATION),
        ("203.0.113.0/24", Reason.DOCUMENTATION),
        ("224.0.0.0/4", Reason.MULTICAST),
        ("240.0.0.0/4", Reason.RESERVED),
    )
)

# The first match gives the reason, so the single addresses stand before the network that holds them.
_CLOSED_V6: tuple[tuple[IPv6Network, Reason], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", Reason.THIS_NETWORK),
        ("::1/128", Reason.LOOPBACK),
        ("::/96", Reason.EMBEDDED),
        ("64:ff9b::/96", Reason.EMBEDDED),
        ("64:ff9b:1::/48", Reason.EMBEDDED),
        ("100::/64", Reason.RESERVED),
        ("2001::/32", Reason.EMBEDDED),  # Teredo.
        ("2001::/23", Reason.RESERVED),
        ("2001:db8::/32", Reason.DOCUMENTATION),
        ("2002::/16", Reason.EMBEDDED),  # 6to4.
        ("3fff::/20", Reason.DOCUMENTATION),
        ("5f00::/16", Reason.RESERVED),
        ("fc00::/7", Reason.PRIVATE),
        ("fe80::/10", Reason.LINK_LOCAL),
        ("fec0::/10", Reason.PRIVATE),
        ("ff00::/8", Reason.MULTICAST),
    )
)


def _never(port: int, ip: Address, own_ports: AbstractSet[int]) -> Reason | None:
    """Cases 1 and 2: what no entry can open."""
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return Reason.ZONE
    return Reason.OWN if port in own_ports and _is_this_machine(ip) else None


def _opening(host: str, port: int) -> str:
    """Say how the operator opens one receiver, and nothing beside it."""
    entry = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f'allow it by egress.allow = ["{entry}"] in {SETTINGS_FILE}'


def _unusual(scheme: str, port: int) -> Reason | None:
    """Cases 5 and 6: what a public receiver does not need. Mail begins plain and asks for TLS itself."""
    if scheme == PLAIN_MAIL:
        return Reason.PLAIN_MAIL
    if scheme == "smtp":
        return None if port in MAIL_PORTS else Reason.MAIL_PORT
    if scheme != "https":
        return Reason.PLAIN_HTTP
    return None if port in PORTS else Reason.PORT


def _is_this_machine(ip: Address) -> bool:
    """Tell loopback and unspecified addresses, in any form; other addresses of ours show once connected."""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return closed_because(ip) in (Reason.LOOPBACK, Reason.THIS_NETWORK)


def _host_fault(host: str) -> Reason | None:
    if not host:
        return Reason.NO_HOST
    if literal_of(host) is not None:
        return None
    if len(host) > HOST_CHARS_MAX:
        return Reason.TOO_LONG
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return Reason.NUMERIC_HOST
    return None if all(_LABEL.fullmatch(label) for label in labels) else Reason.BAD_HOST


def _read_entry(entry: str) -> _Opening:
    bare = _network_of(entry)  # IPv6 without a port needs no brackets.
    if bare is not None:
        return _Opening(name=None, network=bare, port=None)
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise _bad_entry(entry)
    port = None if match["port"] is None else int(match["port"])
    text = match["bracketed"] or match["plain"]
    network = _network_of(text)
    name = text.lower().removesuffix(".")
    is_readable = network is not None or (match["bracketed"] is None and _host_fault(name) is None)
    if not is_readable or (port is not None and not 0 < port <= PORT_MAX):
        raise _bad_entry(entry)
    return _Opening(name=None if network else name, network=network, port=port)


def _network_of(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _bad_entry(entry: str) -> ValueError:
    examples = "10.1.0.0/16, hooks.lan:8080, [fd00::1]:443"
    return ValueError(f"egress.allow: cannot read {entry!r}; write {ENTRY_FORMS} ({examples})")
