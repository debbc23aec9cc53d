-- One row a step in the life of a delivery; the newest by (attempt, at_ms) is its present state.
CREATE TABLE IF NOT EXISTS flowgauge.deliveries (
    delivery_id String,
    transition_id String,
    incident_id String,
    tenant LowCardinality(String),
    rule LowCardinality(String),
    channel LowCardinality(String),
    to_state LowCardinality(String),
    attempt UInt32,
    outcome LowCardinality(String),
    at_ms Int64,
    status UInt16,
    elapsed_ms UInt32,
    reason LowCardinality(String),
    next_attempt_ms Int64,
    _partition UInt16,
    _offset UInt64,
    _append DateTime64(3, 'UTC'),
    CONSTRAINT has_delivery CHECK delivery_id != ''
) ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, incident_id, delivery_id, attempt, at_ms)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
