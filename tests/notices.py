"""Notices that tests tell channels of: a usual incident, a storm, and any that the outbox can hold."""

import dataclasses

from hypothesis import strategies as st
from msgspec.structs import replace

from flowgauge.processors.kinds import KINDS
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.message import fitted

CONSOLE = "https://gauge.example"
FIRING = Transition(
    transition_id="3d1a5a1f0d9d4a0e9a6d1b2c3d4e5f60",
    incident_id="a41c9c35b2f14f6f8f0e1d2c3b4a5968",
    seq=0,
    tenant="acme",
    rule="orders-sync failing",
    rule_kind="failure_rate",
    rules_version=7,
    key={"flow": "orders-eu", "resource.env": "prod"},
    from_state="inactive",
    to_state="firing",
    at_ms=1_795_427_466_000,
    opened_at_ms=1_795_427_466_000,
    reason="value above threshold",
    value=0.6,
    threshold=0.2,
    samples=5,
    late_samples=1,
    window_ms=600_000,
    examples=[
        ExampleRun(1_795_427_400_000_000, "6a0e5b0c-0b1f-4c6e-9a65-0d5f3f0d8a11", "loyal-heron", "orders-eu"),
        ExampleRun(1_795_427_410_250_000, "6a0e5b0c-0b1f-4c6e-9a65-0d5f3f0d8a12", "brisk-otter", "orders-eu"),
        ExampleRun(1_795_427_421_500_000, "6a0e5b0c-0b1f-4c6e-9a65-0d5f3f0d8a13", "amber-finch", "orders-eu"),
    ],
    severity="critical",
    labels={"team": "data"},
    summary="{{ flow }} in {{ resource.env }}: {{ value|percent }} of {{ samples }} runs failed",
    runbook="https://wiki.example/orders-sync",
)
RESOLVED = replace(
    FIRING,
    transition_id="f" * 32,
    seq=1,
    from_state="firing",
    to_state="resolved",
    at_ms=FIRING.at_ms + 1_140_000,
    reason="value below clear_below",
    value=0.0,
    late_samples=0,
    examples=[],
)
DETAILS = (
    "orders-eu / loyal-heron: OperationalError: connection to server at db-eu:5432 failed: Connection refused",
    "3 runs with the same error since 09:38:12 UTC",
    "changed: flow version 41 → 42 at 09:31:07 UTC",
)


def notice(*transitions: Transition, details: tuple[str, ...] = (), reference: str = "") -> Notice:
    """Return what tells of `transitions`, as the outbox keeps them."""
    told = tuple(map(fitted, transitions))
    return Notice("d1", told, reference=reference, public_url=CONSOLE, details=details)


def storm(count: int) -> tuple[Transition, ...]:
    """Return the openings of `count` incidents of three rules, and the ends of every tenth of them."""
    opened = [
        replace(
            FIRING,
            transition_id=f"{number:032x}",
            incident_id=f"{number:032x}",
            rule=f"{('orders', 'billing', 'stock')[number % 3]} failing",
            key={"flow": f"flow-{number}"},
            summary="{{ flow }}: {{ value|percent }} of {{ samples }} runs failed",
        )
        for number in range(count)
    ]
    return (*opened, *(replace(each, seq=1, to_state="resolved") for each in opened[::10]))


def crammed(char: str, incidents: int) -> Notice:
    """Return a notice in which all that a rule or an event says is as long as it can be, of `char` alone."""
    long = char * 2_000
    runs = [ExampleRun(FIRING.at_ms * 1000, long, long, long)] * 5
    told = [
        replace(
            FIRING,
            incident_id=f"{number:032x}",
            rule=f"{number % 12} {long}"[:200],
            key={long: long},
            labels={long: long},
            tenant=long[:64],
            severity=long,
            reason=long,
            summary=long,
            examples=runs,
            runbook="https://" + "r" * 1_000,
        )
        for number in range(incidents)
    ]
    return dataclasses.replace(
        notice(*told, details=(long,) * 30), public_url="https://" + "h" * (110 if incidents > 1 else 900)
    )


def _repeated(text: str, times: int) -> str:
    return text * times


nasty = st.sampled_from(
    [
        "<!channel>",
        "<@U012AB3CD>",
        "<https://evil.example|the console>",
        "a@b.example",
        "@here",
        "&lt;!here&gt;",
        "`*_~",
    ]
)
texts: st.SearchStrategy[str] = st.text(max_size=40) | nasty | st.builds(_repeated, nasty, st.integers(1, 400))
mappings = st.dictionaries(texts, texts, max_size=6)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
times_ms = st.integers(0, 4_000_000_000_000)
transitions = st.builds(
    Transition,
    transition_id=st.just("t"),
    incident_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    seq=st.just(0),
    tenant=texts,
    rule=texts,
    rule_kind=st.sampled_from([*KINDS, "of tomorrow"]),
    rules_version=st.just(1),
    key=mappings,
    from_state=st.just("inactive"),
    to_state=st.sampled_from(["firing", "no_data", "resolved"]),
    at_ms=times_ms,
    opened_at_ms=times_ms,
    reason=texts,
    value=numbers,
    threshold=numbers,
    samples=st.integers(0, 10**9),
    late_samples=st.integers(0, 10**9),
    window_ms=st.integers(0, 10**10),
    examples=st.lists(st.builds(ExampleRun, times_ms.map(lambda ms: ms * 1000), texts, texts, texts), max_size=5),
    severity=texts,
    labels=mappings,
    runbook=st.sampled_from(["", "https://wiki.example/a|b>&c", "https://" + "r" * 1_000]),
    summary=st.just("{{ labels }}{{ key }}") | texts,
).map(fitted)
public_urls = st.sampled_from(["", CONSOLE, f"{CONSOLE}/a|b>&c", "https://" + "h" * 1_000])
notices = st.builds(
    Notice,
    st.just("d1"),
    st.lists(transitions, min_size=1, max_size=30).map(tuple)
    | st.lists(transitions, min_size=1, max_size=1).map(tuple),
    public_url=public_urls,
    details=st.lists(texts, max_size=12).map(tuple),
    is_replay=st.booleans(),
)
