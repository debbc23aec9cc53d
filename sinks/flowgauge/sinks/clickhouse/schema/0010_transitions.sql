-- The columns are the fields of the record. Questions take distinct transition_id.
CREATE TABLE IF NOT EXISTS flowgauge.transitions (
    transition_id String,
    incident_id String,
    seq UInt32,
    tenant LowCardinality(String),
    rule LowCardinality(String),
    rule_kind LowCardinality(String),
    rules_version UInt64,
    key Map(LowCardinality(String), String),
    from_state LowCardinality(String),
    to_state LowCardinality(String),
    at_ms Int64,
    opened_at_ms Int64,
    reason String,
    value Nullable(Float64),
    threshold Nullable(Float64),
    samples UInt64,
    late_samples UInt64,
    window_ms UInt64,
    examples Array(Tuple(occurred_us Int64, event_id String, run String, flow String)),
    severity LowCardinality(String),
    labels Map(LowCardinality(String), String),
    summary String CODEC(ZSTD(1)),
    notify Array(LowCardinality(String)),
    _partition UInt16,
    _offset UInt64,
    _append DateTime64(3, 'UTC'),
    INDEX ix_incident incident_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT has_incident CHECK incident_id != '' AND transition_id != ''
) ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, opened_at_ms, incident_id, seq)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
