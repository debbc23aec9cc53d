"""Every metric of the producers' server side. Labels are bounded sets."""

from typing import Final

from prometheus_client import Counter, Gauge

EVENTS_ACCEPTED: Final = Counter("flowgauge_producers_events_accepted_total", "Events the gateway appended to the log.")
EVENTS_REFUSED: Final = Counter(
    "flowgauge_producers_events_refused_total", "Events the gateway sent to the dlq.", ["reason"]
)
REQUESTS_LIMITED: Final = Counter(
    "flowgauge_producers_requests_limited_total", "Requests to publish answered with HTTP 429, by the bound.", ["limit"]
)
REQUESTS: Final = Counter("flowgauge_producers_requests_total", "Requests to publish, by their answer.", ["status"])
BODY_BYTES: Final = Counter(
    "flowgauge_producers_body_bytes_total", "Bytes of bodies to publish, as they came over the wire."
)
REQUESTS_CROWDED: Final = Counter(
    "flowgauge_producers_requests_crowded_total",
    "Requests answered with HTTP 503 while too many bytes were in work: of all, of one tenant, or unverified.",
    ["of"],
)
SOCKETS: Final = Gauge("flowgauge_producers_sockets", "WebSockets that are open.")
SOCKETS_ENDED: Final = Counter(
    "flowgauge_producers_sockets_ended_total", "WebSockets that ended, by what ended them.", ["why"]
)
PULSES: Final = Counter(
    "flowgauge_producers_pulses_total", "Pulses appended: one a partition and second, and after a pause."
)
PULSES_MISSED: Final = Counter(
    "flowgauge_producers_pulses_missed_total", "Seconds in which the log could not take the pulses."
)
BRIDGED: Final = Counter(
    "flowgauge_producers_bridged_total",
    "Events and logs that the bridge from Prefect met, by what became of them: streamed, recovered (the stream had "
    "lost them), caught_up (of before the connection), logs, repeated, refused, unmappable, not_looked_up.",
    ["what"],
)
BRIDGE_COMPARED: Final = Gauge(
    "flowgauge_producers_bridge_compared_seconds",
    "Up to when all that Prefect keeps is in flowgauge, in seconds since 1970.",
    ["of"],
)
BRIDGE_UNKNOWN_SECONDS: Final = Counter(
    "flowgauge_producers_bridge_unknown_seconds_total", "Time too long ago, when a bridge began, to ask Prefect of it."
)
HOOKS: Final = Counter(
    "flowgauge_producers_hooks_total",
    "Webhooks that came in: accepted, ignored, unmappable, unverified, or to a hook that is unknown.",
    ["outcome"],
)
