-- Every event record of the log, once: uniqExact(_partition, _offset) = count().
-- A producer's retry is a second record with the same id and stays a second row: questions count distinct ids or runs.
-- The key serves one tenant's logs and runs by hour; a run without a time goes through the bloom filter.
-- Limits and TTL compare with _append, the clock of the partition, so that a replay meets the same answers.
CREATE TABLE IF NOT EXISTS flowgauge.events (
    id UUID,
    tenant LowCardinality(String),
    occurred DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    event LowCardinality(String),
    kind LowCardinality(String) DEFAULT 'other',
    flow LowCardinality(String),
    run String CODEC(ZSTD(1)),
    task String CODEC(ZSTD(1)),
    state LowCardinality(String),
    scheduled_for Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    -- Keys as plain String: LowCardinality keys cost a third of the insert and save little under ZSTD(3).
    resource Map(String, String) CODEC(ZSTD(3)),
    related Array(Map(String, String)) CODEC(ZSTD(3)),
    payload String DEFAULT '{}' CODEC(ZSTD(3)),
    follows Nullable(UUID) CODEC(ZSTD(1)),
    extra String DEFAULT '{}' CODEC(ZSTD(1)),
    _partition UInt16 CODEC(ZSTD(1)),
    _offset UInt64 CODEC(Delta(8), ZSTD(1)),
    _append DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    -- What logs say, and why a run or task failed: its own message, else that of Prefect's state or the SDK's exception.
    message String MATERIALIZED if(
        kind = 'log' OR state IN ('failed', 'crashed'),
        coalesce(
            nullIf(JSONExtractString(payload, 'message'), ''),
            nullIf(JSONExtractString(payload, 'validated_state', 'message'), ''),
            JSONExtractString(payload, 'exception', 'message')
        ),
        ''
    ) CODEC(ZSTD(1)),
    level LowCardinality(String) MATERIALIZED if(kind = 'log', upper(JSONExtractString(payload, 'level')), ''),
    logger LowCardinality(String) MATERIALIZED if(kind = 'log', JSONExtractString(payload, 'logger'), ''),
    INDEX ix_run run TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_message message TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(message)),
    CONSTRAINT has_tenant CHECK tenant != '',
    CONSTRAINT has_event CHECK event != '',
    CONSTRAINT has_resource CHECK resource['id'] != '',
    CONSTRAINT is_near_append CHECK occurred >= _append - INTERVAL 400 DAY AND occurred <= _append + INTERVAL 86401 SECOND
) ENGINE = MergeTree
PARTITION BY toDate(occurred)
ORDER BY (tenant, kind, toStartOfHour(occurred), run, occurred)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
