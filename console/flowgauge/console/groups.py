"""The groups of a log: who reads what. Pure; their names are those that the parts themselves use."""

from flowgauge.schemas.topics import DELIVERIES, DLQ, EVENTS, SAMPLES, TRANSITIONS

MATCHER = (EVENTS, "matcher")
DETECTOR = (SAMPLES, "detector")
NOTIFIER = (TRANSITIONS, "notifier")
SINK = tuple((topic, "clickhouse") for topic in (EVENTS, TRANSITIONS, DELIVERIES, DLQ))
ALL_GROUPS = (MATCHER, DETECTOR, NOTIFIER, *SINK)
