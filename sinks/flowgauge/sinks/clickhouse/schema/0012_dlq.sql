-- What could not be read. From the sink a letter may come twice: (origin, source_partition, source_offset) names it.
CREATE TABLE IF NOT EXISTS flowgauge.dlq (
    tenant LowCardinality(String),
    reason LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    origin LowCardinality(String),
    at_ms Int64,
    value String CODEC(ZSTD(3)),
    size UInt64,
    source_partition Int32 DEFAULT -1,
    source_offset Int64 DEFAULT -1,
    _partition UInt16,
    _offset UInt64,
    _append DateTime64(3, 'UTC')
) ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, at_ms)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
