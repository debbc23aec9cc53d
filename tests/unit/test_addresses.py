from ipaddress import ip_address, ip_network

import pytest

from flowgauge.sinks.webhooks.addresses import (
    EgressPolicy,
    Reason,
    Target,
    Verdict,
    closed_because,
    target_of,
    text_fault,
)

CLOSED = {
    "0.0.0.0/8": Reason.THIS_NETWORK,
    "10.0.0.0/8": Reason.PRIVATE,
    "100.64.0.0/10": Reason.SHARED,
    "127.0.0.0/8": Reason.LOOPBACK,
    "168.63.129.16/32": Reason.CLOUD,
    "169.254.0.0/16": Reason.LINK_LOCAL,
    "172.16.0.0/12": Reason.PRIVATE,
    "192.0.0.0/24": Reason.RESERVED,
    "192.0.2.0/24": Reason.DOCUMENTATION,
    "192.88.99.0/24": Reason.RESERVED,
    "192.168.0.0/16": Reason.PRIVATE,
    "198.18.0.0/15": Reason.BENCHMARK,
    "198.51.100.0/24": Reason.DOCUMENTATION,
    "203.0.113.0/24": Reason.DOCUMENTATION,
    "224.0.0.0/4": Reason.MULTICAST,
    "240.0.0.0/4": Reason.RESERVED,
    "::/128": Reason.THIS_NETWORK,
    "::1/128": Reason.LOOPBACK,
    "::2/127": Reason.EMBEDDED,
    "::ffff:0:0/112": Reason.THIS_NETWORK,
    "64:ff9b::/96": Reason.EMBEDDED,
    "64:ff9b:1::/48": Reason.EMBEDDED,
    "100::/64": Reason.RESERVED,
    "2001::/32": Reason.EMBEDDED,
    "2001:1::/32": Reason.RESERVED,
    "2001:100::/24": Reason.RESERVED,
    "2001:db8::/32": Reason.DOCUMENTATION,
    "2002::/16": Reason.EMBEDDED,
    "3fff::/20": Reason.DOCUMENTATION,
    "5f00::/16": Reason.RESERVED,
    "fc00::/7": Reason.PRIVATE,
    "fe80::/10": Reason.LINK_LOCAL,
    "fec0::/10": Reason.PRIVATE,
    "ff00::/8": Reason.MULTICAST,
}

# The addresses just outside a closed network, where the neighbour is not closed itself.
OPEN = [
    *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
    *("168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.88.98.255", "192.88.100.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0"),
    *("203.0.112.255", "203.0.114.0", "223.255.255.255", "8.8.8.8"),
    *("2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    *("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    *("2003::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", "2606:4700::1", "::ffff:8.8.8.8"),
]

# IPv6 that is in no closed network and that no receiver has: outside 2000::/3.
NOT_GLOBAL = [
    *("::1:0:0", "::ffff:0:7f00:1", "64:ff9a:ffff::", "64:ff9b:0:1::", "100:0:0:1::", "1fff:ffff::"),
    *("4000::", "5eff:ffff::", "5f01::", "fbff:ffff::", "fe00::", "fe7f:ffff::"),
]

METADATA = ["169.254.169.254", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "::ffff:169.254.169.254"]


@pytest.mark.parametrize(("network", "reason"), CLOSED.items())
def test_the_first_and_last_address_of_every_closed_network_are_refused(network: str, reason: Reason) -> None:
    first, last = ip_network(network)[0], ip_network(network)[-1]

    assert (closed_because(first), closed_because(last)) == (reason, reason)


@pytest.mark.parametrize("text", OPEN)
def test_the_neighbours_of_closed_networks_are_public(text: str) -> None:
    verdict = EgressPolicy().verdict("hooks.example", 443, ip_address(text))

    assert verdict == Verdict(allowed=True, reason=Reason.PUBLIC)


@pytest.mark.parametrize("text", NOT_GLOBAL)
def test_ipv6_outside_global_unicast_is_refused(text: str) -> None:
    assert closed_because(ip_address(text)) is Reason.NOT_GLOBAL


@pytest.mark.parametrize("text", METADATA)
def test_cloud_metadata_services_are_refused(text: str) -> None:
    assert not EgressPolicy().verdict("metadata", 443, ip_address(text)).allowed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("::ffff:127.0.0.1", Reason.LOOPBACK),
        ("::ffff:10.0.0.1", Reason.PRIVATE),
        ("::127.0.0.1", Reason.EMBEDDED),
        ("64:ff9b::7f00:1", Reason.EMBEDDED),
        ("2002:7f00:1::", Reason.EMBEDDED),
        ("2001:0:7f00:1::", Reason.EMBEDDED),
    ],
)
def test_an_ipv4_address_inside_an_ipv6_address_does_not_slip_through(text: str, reason: Reason) -> None:
    assert EgressPolicy().verdict("hooks.example", 443, ip_address(text)) == Verdict(allowed=False, reason=reason)


def test_an_address_with_a_zone_is_refused_even_where_allowed() -> None:
    policy = EgressPolicy(allow=("hooks.lan",))

    assert policy.verdict("hooks.lan", 443, ip_address("2606:4700::1%eth0")).reason is Reason.ZONE


@pytest.mark.parametrize(
    ("allow", "host", "port", "ip"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1"),
        ("127.0.0.1:8080", "localhost", 8080, "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", 40_001, "127.0.0.1"),
        ("10.1.0.0/16", "hooks.lan", 9000, "10.1.255.255"),
        ("10.1.0.0/16:9000", "hooks.lan", 9000, "10.1.0.0"),
        ("hooks.lan", "hooks.lan", 9000, "192.168.7.7"),
        ("hooks.lan:9000", "HOOKS.lan.", 9000, "192.168.7.7"),
        ("Hooks.LAN.:9000", "hooks.lan", 9000, "192.168.7.7"),
        ("::1", "::1", 9000, "::1"),
        ("[::1]", "::1", 9000, "::1"),
        ("[::1]:9000", "::1", 9000, "::1"),
        ("fd00::/8", "hooks.lan", 443, "fd12::1"),
        ("[fd00::/8]:443", "hooks.lan", 443, "fd12::1"),
        ("hooks.example:9443", "hooks.example", 9443, "8.8.8.8"),
    ],
)
def test_an_allow_entry_opens_what_it_names(allow: str, host: str, port: int, ip: str) -> None:
    verdict = EgressPolicy(allow=(allow,)).verdict(host, port, ip_address(ip), scheme="http")

    assert verdict == Verdict(allowed=True, reason=Reason.EXCEPTION)


@pytest.mark.parametrize(
    ("allow", "host", "port", "ip", "reason"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8081, "127.0.0.1", Reason.LOOPBACK),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.2", Reason.LOOPBACK),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "::ffff:127.0.0.1", Reason.LOOPBACK),
        ("127.0.0.1:8080", "localhost", 8080, "::1", Reason.LOOPBACK),
        ("10.1.0.0/16", "hooks.lan", 443, "10.2.0.0", Reason.PRIVATE),
        ("hooks.lan", "evil.hooks.lan", 443, "10.2.0.0", Reason.PRIVATE),
        ("hooks.lan", "hooks.lan.evil.example", 443, "10.2.0.0", Reason.PRIVATE),
        ("hooks.lan:9000", "hooks.lan", 443, "10.2.0.0", Reason.PRIVATE),
        ("fd00::/8", "hooks.lan", 443, "fc00::1", Reason.PRIVATE),
    ],
)
def test_an_allow_entry_opens_nothing_else(*, allow: str, host: str, port: int, ip: str, reason: Reason) -> None:
    verdict = EgressPolicy(allow=(allow,)).verdict(host, port, ip_address(ip))

    assert verdict == Verdict(allowed=False, reason=reason)


@pytest.mark.parametrize("port", [22, 25, 3306, 6379, 8080, 65_535])
def test_a_public_address_is_reached_only_at_the_ports_of_webhooks(port: int) -> None:
    verdict = EgressPolicy().verdict("hooks.example", port, ip_address("8.8.8.8"))

    assert verdict == Verdict(allowed=False, reason=Reason.PORT)


def test_plain_http_to_a_public_address_needs_an_entry() -> None:
    ip = ip_address("8.8.8.8")

    closed = EgressPolicy().verdict("hooks.example", 80, ip, scheme="http")
    opened = EgressPolicy(allow=("hooks.example",)).verdict("hooks.example", 80, ip, scheme="http")

    assert (closed.reason, opened.reason) == (Reason.PLAIN_HTTP, Reason.EXCEPTION)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_a_port_of_our_own_is_refused_whatever_is_allowed(text: str) -> None:
    policy = EgressPolicy(allow=("localhost",))

    verdict = policy.verdict("localhost", 4280, ip_address(text), own_ports=frozenset({4280}))

    assert verdict == Verdict(allowed=False, reason=Reason.OWN)


@pytest.mark.parametrize(
    "entry",
    [
        *("", " ", "*", "*.lan", "https://hooks.lan", "user@hooks.lan", "hooks.lan/path", "hooks.lan:", ":80"),
        *("hooks.lan:0", "hooks.lan:65536", "hooks.lan:http", "10.0.0.1/8", "10.0.0.0/33", "127.1", "0x7f.1"),
        *("2130706433", "[hooks.lan]:80", "[::1", "::1]:80", "[::1]:x", "hooks lan", "-hooks.lan", "münchen.example"),
    ],
)
def test_an_allow_entry_that_cannot_be_read_is_named_with_the_forms(entry: str) -> None:
    with pytest.raises(ValueError, match="write a host, host:port, CIDR or CIDR:port") as caught:
        EgressPolicy(allow=("hooks.lan", entry))

    assert repr(entry) in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "userinfo", "host", "port", "expected"),
    [
        ("https", b"", "Hooks.Example.", None, Target(scheme="https", host="hooks.example", port=443)),
        ("http", b"", "hooks.example", None, Target(scheme="http", host="hooks.example", port=80)),
        (
            "https",
            b"",
            "a_b.xn--mnchen-3ya.example",
            8443,
            Target("https", "a_b.xn--mnchen-3ya.example", 8443),
        ),
        ("https", b"", "::1", 1, Target(scheme="https", host="::1", port=1)),
        ("https", b"", "127.0.0.1", 65_535, Target(scheme="https", host="127.0.0.1", port=65_535)),
        ("https", b"user", "hooks.example", None, Reason.USERINFO),
        ("https", b":pass", "hooks.example", None, Reason.USERINFO),
        ("ftp", b"", "hooks.example", None, Reason.SCHEME),
        ("file", b"", "", None, Reason.SCHEME),
        ("", b"", "hooks.example", None, Reason.SCHEME),
        ("https", b"", "", None, Reason.NO_HOST),
        ("https", b"", ".", None, Reason.NO_HOST),
        ("https", b"", "hooks..example", None, Reason.BAD_HOST),
        ("https", b"", ".hooks.example", None, Reason.BAD_HOST),
        ("https", b"", "hooks.example..", None, Reason.BAD_HOST),
        ("https", b"", "-hooks.example", None, Reason.BAD_HOST),
        ("https", b"", "hooks-.example", None, Reason.BAD_HOST),
        ("https", b"", "%31%32%37.example", None, Reason.BAD_HOST),
        ("https", b"", "hooks\\.example", None, Reason.BAD_HOST),
        ("https", b"", "a" * 64 + ".example", None, Reason.BAD_HOST),
        ("https", b"", "a." * 127 + "example", None, Reason.TOO_LONG),
        ("https", b"", "127.1", None, Reason.NUMERIC_HOST),
        ("https", b"", "127.0.1", None, Reason.NUMERIC_HOST),
        ("https", b"", "2130706433", None, Reason.NUMERIC_HOST),
        ("https", b"", "017700000001", None, Reason.NUMERIC_HOST),
        ("https", b"", "0x7f000001", None, Reason.NUMERIC_HOST),
        ("https", b"", "0X7F.1", None, Reason.NUMERIC_HOST),
        ("https", b"", "0x7f.0x0.0x0.0x1", None, Reason.NUMERIC_HOST),
        ("https", b"", "0177.0.0.1", None, Reason.NUMERIC_HOST),
        ("https", b"", "127.0.0.1.5", None, Reason.NUMERIC_HOST),
        ("https", b"", "256.256.256.256", None, Reason.NUMERIC_HOST),
        ("https", b"", "0", None, Reason.NUMERIC_HOST),
        ("https", b"", "hooks.example", 0, Reason.BAD_PORT),
        ("https", b"", "hooks.example", 65_536, Reason.BAD_PORT),
        ("https", b"", "hooks.example", -1, Reason.BAD_PORT),
    ],
)
def test_the_parts_of_a_url_are_checked_before_any_name_is_resolved(
    *, scheme: str, userinfo: bytes, host: str, port: int | None, expected: Target | Reason
) -> None:
    assert target_of(scheme, userinfo, host, port) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://hooks.example/a?b=c", None),
        ("https://hooks.example/\r\nHost: evil", Reason.CONTROL),
        ("https://hooks.example/ x", Reason.CONTROL),
        ("https://hooks.example\t", Reason.CONTROL),
        ("https://hooks\x00.example", Reason.CONTROL),
        ("https://hooks\u2028.example", Reason.CONTROL),
        ("https://hooks\u200b.example", Reason.CONTROL),
        ("https://hooks.example/" + "a" * 2_048, Reason.TOO_LONG),
    ],
)
def test_text_that_no_parser_should_see_is_refused(text: str, expected: Reason | None) -> None:
    assert text_fault(text) is expected


@pytest.mark.parametrize(
    ("host", "port", "ip", "scheme", "entry"),
    [
        ("127.0.0.1", 5390, "127.0.0.1", "http", "127.0.0.1:5390"),
        ("::1", 5390, "::1", "http", "[::1]:5390"),
        ("hooks.lan", 443, "10.0.0.1", "https", "hooks.lan:443"),
        ("hooks.example", 80, "8.8.8.8", "http", "hooks.example:80"),
        ("hooks.example", 9000, "8.8.8.8", "https", "hooks.example:9000"),
    ],
)
def test_a_refusal_names_the_entry_that_opens_it(host: str, port: int, ip: str, *, scheme: str, entry: str) -> None:
    refused = EgressPolicy().verdict(host, port, ip_address(ip), scheme=scheme)
    opened = EgressPolicy(allow=(entry,)).verdict(host, port, ip_address(ip), scheme=scheme)

    assert str(refused) == f'{refused.reason.value} (allow it by egress.allow = ["{entry}"] in flowgauge.toml)'
    assert opened.allowed


@pytest.mark.parametrize("ip", ["169.254.169.254", "168.63.129.16", "224.0.0.1", "0.0.0.0"])
def test_nobody_is_led_to_open_a_metadata_service_or_what_is_no_receiver(ip: str) -> None:
    refused = EgressPolicy().verdict(ip, 80, ip_address(ip), scheme="http")

    assert not refused.allowed
    assert str(refused) == refused.reason.value
