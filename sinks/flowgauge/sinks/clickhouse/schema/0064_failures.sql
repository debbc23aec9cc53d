-- Why runs and tasks failed, and what was logged as an error. `error` is the message without what names one case.
-- An event that came twice is one row sooner or later: questions count distinct ids.
CREATE TABLE IF NOT EXISTS flowgauge.failures (
    tenant LowCardinality(String),
    occurred DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    id UUID,
    flow LowCardinality(String),
    run String CODEC(ZSTD(1)),
    error String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    _append DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred)
ORDER BY (tenant, occurred, id)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
