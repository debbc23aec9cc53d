"""Every metric of matching and detection, with what it counts."""

from prometheus_client import Counter, Gauge

EVENTS = Counter("flowgauge_processors_events_total", "Events the matcher has read")
SAMPLES = Counter("flowgauge_processors_samples_total", "Samples the detector has taken")
INVALID = Counter("flowgauge_processors_invalid_total", "Events that a rule could match but that are not valid")
MISSING_KEY = Counter("flowgauge_processors_missing_key_total", "Matches skipped for lack of a for_each value")
LATE = Counter("flowgauge_processors_late_total", "Samples later than their rule's allowed lateness")
SKEWED = Counter("flowgauge_processors_skewed_total", "Samples further than 10 s ahead of their append time")
RESENT = Counter("flowgauge_processors_resent_total", "Samples that were re-sends and changed nothing")
SLOTS_REFUSED = Counter(
    "flowgauge_processors_slots_refused_total", "What windows dropped at a bound: slots, watched runs, silences"
)
KEYS_REFUSED = Counter("flowgauge_processors_keys_refused_total", "Samples dropped at the bound on keys")
TRANSITIONS = Counter("flowgauge_processors_transitions_total", "Transitions by state entered", ["to_state"])
KEYS = Gauge("flowgauge_processors_keys", "Keys held, by samples partition", ["partition"])
CLOCK_MS = Gauge(
    "flowgauge_processors_clock_milliseconds", "The slowest source's clock, by samples partition", ["partition"]
)
