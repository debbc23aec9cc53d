-- runs_final, kept: questions read this and fold only what came since (see folding). The newest row of a run counts.
CREATE TABLE IF NOT EXISTS flowgauge.runs_folded (
    tenant LowCardinality(String),
    run String CODEC(ZSTD(1)),
    flow LowCardinality(String),
    deployment LowCardinality(String),
    work_pool LowCardinality(String),
    tags Array(LowCardinality(String)),
    state LowCardinality(String),
    scheduled_for Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    seen_first DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    seen_last DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    started Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    ended Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    due Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    expected Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    seconds Nullable(Float64) CODEC(ZSTD(1)),
    late_seconds Nullable(Float64) CODEC(ZSTD(1)),
    wait_seconds Nullable(Float64) CODEC(ZSTD(1)),
    attempts UInt64 CODEC(ZSTD(1)),
    failed_message String CODEC(ZSTD(3)),
    told_team LowCardinality(String),
    told_costs Array(Tuple(currency String, cost Nullable(Decimal(38, 6)))) CODEC(ZSTD(1)),
    told_bytes Nullable(UInt128) CODEC(ZSTD(1)),
    told_rows Nullable(UInt128) CODEC(ZSTD(1)),
    cpu_sum Nullable(Float64) CODEC(ZSTD(1)),
    cpu_count UInt64 CODEC(ZSTD(1)),
    gpu_sum Nullable(Float64) CODEC(ZSTD(1)),
    gpu_count UInt64 CODEC(ZSTD(1)),
    append_last DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    folded DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    INDEX ix_seen_first seen_first TYPE minmax GRANULARITY 1,
    INDEX ix_seen_last seen_last TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(folded)
PARTITION BY toYYYYMM(seen_first)
ORDER BY (tenant, run)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
