-- Where the clock of each source partition stood after each batch: what a backtest needs of a quiet log.
CREATE TABLE IF NOT EXISTS flowgauge.clocks (
    log_id LowCardinality(String),
    topic LowCardinality(String),
    partition UInt16,
    end UInt64 CODEC(Delta(8), ZSTD(1)),
    clock_ms Int64 CODEC(Delta(8), ZSTD(1))
) ENGINE = ReplacingMergeTree
ORDER BY (log_id, topic, partition, end)
TTL toDateTime(intDiv(clock_ms, 1000)) + INTERVAL 400 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000
