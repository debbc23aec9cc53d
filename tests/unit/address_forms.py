"""What people can write as a receiver's address, well or ill meant, and what becomes of it.

The one list: test_address_forms.py judges each by the policy without exceptions and writes the table of
docs/addresses.md from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flowgauge.sinks.webhooks.addresses import Reason


@dataclass(frozen=True, slots=True)
class Form:
    """One spelling: what it is, what its name resolves to if one is asked for, and the verdict."""

    written: str
    reason: Reason
    means: str
    resolves_to: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """As a receiver's URL."""
        if "://" in self.written:
            return self.written
        is_bare = self.written.count(":") > 1 and not self.written.startswith("[")
        return f"https://[{self.written}]/" if is_bare else f"https://{self.written}/"

    @property
    def webhook_reason(self) -> Reason:
        """The verdict on a webhook; mail has a scheme of its own."""
        return Reason.SCHEME if self.written.startswith("smtp") else self.reason

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Resolve as the form says; what is written as an address is to ask nobody."""
        assert self.resolves_to or self.reason is Reason.UNRESOLVED, f"asked for {host}:{port}"
        if not self.resolves_to:
            raise OSError("no such name")
        return self.resolves_to


FORMS: dict[str, tuple[Form, ...]] = {
    "Public": (
        Form("8.8.8.8", Reason.PUBLIC, "an IPv4 address"),
        Form("8.8.8.8:8443", Reason.PUBLIC, "at another port of webhooks"),
        Form("https://8.8.8.8/hook?token=x#part", Reason.PUBLIC, "a whole URL"),
        Form("2606:4700:4700::1111", Reason.PUBLIC, "an IPv6 address"),
        Form("[2606:4700:4700::1111]:443", Reason.PUBLIC, "in brackets, with a port"),
        Form("::ffff:8.8.8.8", Reason.PUBLIC, "a public IPv4 address, mapped"),
        Form("hooks.example", Reason.PUBLIC, "a name", ("8.8.8.8", "2606:4700::1")),
        Form("HOOKS.Example.", Reason.PUBLIC, "in capitals, with a final dot", ("8.8.8.8",)),
        Form("m\u00fcnchen.example", Reason.PUBLIC, "a name in another script", ("8.8.8.8",)),
        Form("xn--mnchen-3ya.example", Reason.PUBLIC, "the same, encoded", ("8.8.8.8",)),
        Form("hooks\u3002example", Reason.PUBLIC, "a name with an ideographic dot", ("8.8.8.8",)),
        Form("\uff48ooks.example", Reason.BAD_URL, "a name with a full-width letter"),
        Form("smtp://8.8.8.8", Reason.PUBLIC, "a mail server"),
        Form("smtp://8.8.8.8:465", Reason.PUBLIC, "a mail server at another port of mail"),
    ),
    "This machine": (
        Form("127.0.0.1", Reason.LOOPBACK, "loopback"),
        Form("127.255.255.254", Reason.LOOPBACK, "its far end"),
        Form("0.0.0.0", Reason.THIS_NETWORK, "unspecified: most systems connect to loopback"),
        Form("0.1.2.3", Reason.THIS_NETWORK, "this network"),
        Form("::1", Reason.LOOPBACK, "loopback of IPv6"),
        Form("::", Reason.THIS_NETWORK, "unspecified, IPv6"),
        Form("0:0:0:0:0:0:0:1", Reason.LOOPBACK, "loopback of IPv6 in full"),
        Form("[0000:0000:0000:0000:0000:0000:0000:0001]", Reason.LOOPBACK, "with all its zeros"),
        Form("localhost", Reason.LOOPBACK, "by name", ("127.0.0.1", "::1")),
        Form("LOCALHOST.", Reason.LOOPBACK, "in capitals, with a final dot", ("127.0.0.1",)),
        Form("localhost.localdomain", Reason.LOOPBACK, "by its long name", ("127.0.0.1",)),
        Form("127.0.0.1.nip.example", Reason.LOOPBACK, "a public name that means loopback", ("127.0.0.1",)),
        Form("smtp://127.0.0.1", Reason.LOOPBACK, "for mail"),
        Form("smtp://localhost:25", Reason.LOOPBACK, "for mail, by name", ("::1",)),
    ),
    "Numbers that only a C library reads as an address": (
        Form("127.1", Reason.NUMERIC_HOST, "short"),
        Form("127.0.1", Reason.NUMERIC_HOST, "three parts"),
        Form("2130706433", Reason.NUMERIC_HOST, "127.0.0.1, decimal"),
        Form("017700000001", Reason.NUMERIC_HOST, "octal"),
        Form("0x7f000001", Reason.NUMERIC_HOST, "hexadecimal"),
        Form("0X7F000001", Reason.NUMERIC_HOST, "in capitals"),
        Form("0x7f.1", Reason.NUMERIC_HOST, "hexadecimal and short"),
        Form("0x7f.0x0.0x0.0x1", Reason.NUMERIC_HOST, "each part hexadecimal"),
        Form("0177.0.0.1", Reason.BAD_URL, "a part octal"),
        Form("0177.0.0x0.1", Reason.NUMERIC_HOST, "mixed"),
        Form("127.0.0.01", Reason.BAD_URL, "a leading zero"),
        Form("127.000.000.001", Reason.BAD_URL, "all parts of three digits"),
        Form("0", Reason.NUMERIC_HOST, "zero"),
        Form("0x0", Reason.NUMERIC_HOST, "zero, hexadecimal"),
        Form("2852039166", Reason.NUMERIC_HOST, "169.254.169.254, decimal"),
        Form("0xa9fea9fe", Reason.NUMERIC_HOST, "169.254.169.254, hexadecimal"),
        Form("0251.0376.0251.0376", Reason.BAD_URL, "169.254.169.254, octal"),
        Form("169.254.43518", Reason.NUMERIC_HOST, "169.254.169.254, short"),
        Form("425.510.425.510", Reason.BAD_URL, "169.254.169.254, each part 256 too big"),
        Form("4294967296", Reason.NUMERIC_HOST, "past the last address"),
        Form("127.0.0.1.", Reason.LOOPBACK, "a final dot"),
        Form("127.0.0.1..", Reason.BAD_HOST, "two final dots"),
        Form(".127.0.0.1", Reason.NUMERIC_HOST, "a dot in front"),
        Form("127.0.0.1.5", Reason.NUMERIC_HOST, "five parts"),
        Form("127.0.0.0x", Reason.NUMERIC_HOST, "an empty hexadecimal number"),
        Form("-127.0.0.1", Reason.NUMERIC_HOST, "negative"),
    ),
    "Digits and dots of other scripts": (
        Form("\uff11\uff12\uff17.0.0.1", Reason.BAD_URL, "full-width digits"),
        Form("127\uff0e0\uff0e0\uff0e1", Reason.LOOPBACK, "full-width dots"),
        Form("127\u30020\u30020\u30021", Reason.LOOPBACK, "ideographic dots"),
        Form("127\uff610\uff610\uff611", Reason.LOOPBACK, "half-width ideographic dots"),
        Form("\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", Reason.BAD_URL, "circled digits"),
        Form("\u0661\u0662\u0667.0.0.1", Reason.BAD_URL, "Arabic digits"),
        Form("\u00b9\u00b2\u2077.0.0.1", Reason.BAD_URL, "raised digits"),
        Form("\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", Reason.BAD_URL, "localhost in circled letters"),
        Form("local\u00adhost", Reason.CONTROL, "localhost with a soft hyphen"),
        Form("local\u200bhost", Reason.CONTROL, "localhost with a space of no width"),
        Form("local\u200dhost", Reason.CONTROL, "localhost with a joiner"),
        Form("%6c%6f%63%61%6c%68%6f%73%74", Reason.BAD_HOST, "localhost in percent signs"),
        Form("%31%32%37.0.0.1", Reason.NUMERIC_HOST, "127.0.0.1 in percent signs"),
        Form("xn--", Reason.BAD_HOST, "an encoded name that encodes nothing"),
    ),
    "IPv4 inside IPv6": (
        Form("::ffff:127.0.0.1", Reason.LOOPBACK, "mapped"),
        Form("[::ffff:7f00:1]", Reason.LOOPBACK, "mapped, in hexadecimal"),
        Form("0:0:0:0:0:ffff:127.0.0.1", Reason.LOOPBACK, "mapped, in full"),
        Form("::ffff:10.0.0.1", Reason.PRIVATE, "mapped private"),
        Form("::ffff:169.254.169.254", Reason.LINK_LOCAL, "mapped metadata service"),
        Form("::ffff:0:127.0.0.1", Reason.NOT_GLOBAL, "translated (SIIT)"),
        Form("::127.0.0.1", Reason.EMBEDDED, "compatible (retired)"),
        Form("::169.254.169.254", Reason.EMBEDDED, "compatible metadata service"),
        Form("64:ff9b::127.0.0.1", Reason.EMBEDDED, "NAT64"),
        Form("64:ff9b::a9fe:a9fe", Reason.EMBEDDED, "NAT64 of the metadata service"),
        Form("64:ff9b::8.8.8.8", Reason.EMBEDDED, "NAT64 of a public address"),
        Form("64:ff9b:1::10.0.0.1", Reason.EMBEDDED, "NAT64 within a site"),
        Form("2002:7f00:1::", Reason.EMBEDDED, "6to4 of loopback"),
        Form("2002:a9fe:a9fe::1", Reason.EMBEDDED, "6to4 of the metadata service"),
        Form("2001:0:7f00:1::", Reason.EMBEDDED, "Teredo with a server at loopback"),
        Form("2001::f5ff:fffe", Reason.EMBEDDED, "Teredo of a private client"),
    ),
    "Private and local": (
        Form("10.0.0.1", Reason.PRIVATE, "private"),
        Form("172.16.0.1", Reason.PRIVATE, "private"),
        Form("172.31.255.255", Reason.PRIVATE, "its end"),
        Form("192.168.1.1", Reason.PRIVATE, "private: a router"),
        Form("100.64.0.1", Reason.SHARED, "shared by a carrier's customers"),
        Form("169.254.1.1", Reason.LINK_LOCAL, "link-local"),
        Form("fc00::1", Reason.PRIVATE, "unique local"),
        Form("fd12:3456:789a::1", Reason.PRIVATE, "unique local"),
        Form("fe80::1", Reason.LINK_LOCAL, "link-local of IPv6"),
        Form("fe80::1%eth0", Reason.ZONE, "with a zone"),
        Form("[fe80::1%25eth0]", Reason.ZONE, "with a zone, encoded"),
        Form("2606:4700::1%lo", Reason.ZONE, "a public address with a zone"),
        Form("fec0::1", Reason.PRIVATE, "site-local (retired)"),
        Form("10.0.0.0/8", Reason.PRIVATE, "a network"),
        Form("kubernetes.default.svc", Reason.PRIVATE, "a service of a cluster", ("10.96.0.1",)),
        Form("host.docker.internal", Reason.PRIVATE, "the host of a container", ("192.168.65.254",)),
        Form("hooks.example", Reason.PRIVATE, "one address of several is private", ("8.8.8.8", "10.0.0.1")),
        Form("hooks.example", Reason.LOOPBACK, "loopback behind public IPv6", ("2606:4700::1", "127.0.0.1")),
        Form("smtp://10.0.0.1:25", Reason.PRIVATE, "a private mail server"),
    ),
    "Metadata services of clouds": (
        Form("169.254.169.254", Reason.LINK_LOCAL, "AWS, Azure, Google, DigitalOcean, OpenStack"),
        Form("http://169.254.169.254/latest/meta-data/", Reason.LINK_LOCAL, "the same, as asked for"),
        Form("169.254.170.2", Reason.LINK_LOCAL, "AWS, of containers"),
        Form("169.254.0.23", Reason.LINK_LOCAL, "Tencent"),
        Form("fd00:ec2::254", Reason.PRIVATE, "AWS by IPv6"),
        Form("fd20:ce::254", Reason.PRIVATE, "Google by IPv6"),
        Form("fe80::a9fe:a9fe", Reason.LINK_LOCAL, "OpenStack by IPv6"),
        Form("100.100.100.200", Reason.SHARED, "Alibaba"),
        Form("192.0.0.192", Reason.RESERVED, "Oracle, of old"),
        Form("168.63.129.16", Reason.CLOUD, "Azure's host agent, at an address that looks public"),
        Form("metadata.google.internal", Reason.LINK_LOCAL, "Google by name", ("169.254.169.254",)),
        Form("metadata", Reason.LINK_LOCAL, "by a short name", ("169.254.169.254",)),
        Form("instance-data.ec2.internal", Reason.LINK_LOCAL, "AWS by name", ("169.254.169.254",)),
        Form("meta.hooks.example", Reason.LINK_LOCAL, "by anybody's name", ("169.254.169.254",)),
    ),
    "Addresses of no receiver": (
        Form("192.0.2.1", Reason.DOCUMENTATION, "documentation"),
        Form("198.51.100.1", Reason.DOCUMENTATION, "documentation"),
        Form("203.0.113.1", Reason.DOCUMENTATION, "documentation"),
        Form("2001:db8::1", Reason.DOCUMENTATION, "documentation, IPv6"),
        Form("3fff::1", Reason.DOCUMENTATION, "documentation, IPv6, of 2024"),
        Form("198.18.0.1", Reason.BENCHMARK, "benchmarks"),
        Form("192.88.99.1", Reason.RESERVED, "6to4 relays (retired)"),
        Form("224.0.0.1", Reason.MULTICAST, "multicast"),
        Form("ff02::1", Reason.MULTICAST, "multicast, IPv6"),
        Form("240.0.0.1", Reason.RESERVED, "reserved"),
        Form("255.255.255.255", Reason.RESERVED, "broadcast"),
        Form("100::1", Reason.RESERVED, "discarded"),
        Form("2001:20::1", Reason.RESERVED, "hashes of keys (ORCHID)"),
        Form("5f00::1", Reason.RESERVED, "segment routing"),
        Form("4000::1", Reason.NOT_GLOBAL, "not given out"),
    ),
    "URLs": (
        Form("http://8.8.8.8/", Reason.PLAIN_HTTP, "not encrypted"),
        Form("8.8.8.8:22", Reason.PORT, "SSH"),
        Form("8.8.8.8:25", Reason.PORT, "mail, to webhooks"),
        Form("8.8.8.8:6379", Reason.PORT, "Redis"),
        Form("smtp://8.8.8.8:443", Reason.MAIL_PORT, "webhooks, to mail"),
        Form("smtp+plain://8.8.8.8", Reason.PLAIN_MAIL, "mail without TLS"),
        Form("8.8.8.8:0", Reason.BAD_PORT, "port 0"),
        Form("8.8.8.8:65536", Reason.BAD_PORT, "past the last port"),
        Form("8.8.8.8:https", Reason.BAD_URL, "a port that is no number"),
        Form("user@8.8.8.8", Reason.USERINFO, "a user"),
        Form("user:password@8.8.8.8", Reason.USERINFO, "and a password"),
        Form("https://hooks.example@127.0.0.1/", Reason.USERINFO, "a host that is a user"),
        Form("https://hooks.example\\@127.0.0.1/", Reason.USERINFO, "by a backslash"),
        Form("https://127.0.0.1#@hooks.example/", Reason.LOOPBACK, "a host that is a fragment"),
        Form("https://127.0.0.1?@hooks.example/", Reason.LOOPBACK, "a host that is a query"),
        Form("https://127.0.0.1\\.hooks.example/", Reason.BAD_HOST, "a backslash in the host"),
        Form("https://8.8.8.8\t/", Reason.CONTROL, "a tab"),
        Form("https://8.8.8.8/\r\nHost: other", Reason.CONTROL, "a line that would be a header"),
        Form("https://8.8.8.8\x00.hooks.example/", Reason.CONTROL, "a null"),
        Form("ftp://8.8.8.8", Reason.SCHEME, "another scheme"),
        Form("file:///etc/passwd", Reason.SCHEME, "a file"),
        Form("gopher://127.0.0.1:6379/_INFO", Reason.SCHEME, "gopher"),
        Form("unix:///var/run/docker.sock", Reason.SCHEME, "a socket"),
        Form("https:///hook", Reason.NO_HOST, "no host"),
        Form("https://[::1/", Reason.BAD_URL, "half a bracket"),
        Form("https://[127.0.0.1]/", Reason.BAD_URL, "IPv4 in brackets"),
        Form("https://[::ffff:127.0.0.1]:80/", Reason.LOOPBACK, "mapped, with a port"),
        Form("hooks..example", Reason.BAD_HOST, "an empty label"),
        Form("-hooks.example", Reason.BAD_HOST, "a hyphen in front"),
        Form("a" * 64 + ".example", Reason.BAD_HOST, "a label of 64 characters"),
        Form("*.example", Reason.BAD_HOST, "a wildcard"),
        Form("nowhere.example", Reason.UNRESOLVED, "a name without an address"),
    ),
}  # fmt: skip

ALL = tuple(form for forms in FORMS.values() for form in forms)
