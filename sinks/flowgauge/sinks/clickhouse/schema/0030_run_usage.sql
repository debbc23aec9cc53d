-- What events say that a run used, and whose it is: one row an event that says any of it, however often it came.
-- A retry of a producer is the same event with the same values, so each column folds to what it was.
CREATE TABLE IF NOT EXISTS flowgauge.run_usage (
    tenant LowCardinality(String),
    run String,
    id UUID,
    occurred SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    cost SimpleAggregateFunction(max, Nullable(Decimal(18, 6))),
    currency SimpleAggregateFunction(max, String),
    bytes SimpleAggregateFunction(max, Nullable(UInt64)),
    rows SimpleAggregateFunction(max, Nullable(UInt64)),
    cpu_utilization SimpleAggregateFunction(max, Nullable(Float64)),
    gpu_utilization SimpleAggregateFunction(max, Nullable(Float64)),
    team SimpleAggregateFunction(max, String),
    append_last SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    -- When ClickHouse last took something of it, by its own clock: what came since the runs were folded is told by it.
    inserted SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3, 'UTC'),
    INDEX ix_inserted inserted TYPE minmax GRANULARITY 1
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(occurred)
ORDER BY (tenant, run, id)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
