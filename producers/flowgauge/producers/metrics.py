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
