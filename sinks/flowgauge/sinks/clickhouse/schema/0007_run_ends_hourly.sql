-- Distinct runs that ended in an hour, by outcome. A run that fails and is run again counts at each of its ends,
-- once an hour and outcome, however often it is told.
CREATE TABLE IF NOT EXISTS flowgauge.run_ends_hourly (
    tenant LowCardinality(String),
    flow LowCardinality(String),
    hour DateTime('UTC'),
    state LowCardinality(String),
    runs AggregateFunction(uniqExact, String),
    append_last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, flow, hour, state)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
