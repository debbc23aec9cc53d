-- What is known of each flow run, folded from its events; ask through runs_final.
-- Every column folds to the same value however often an event comes: min, max, the latest by (occurred, id), distinct ids.
CREATE TABLE IF NOT EXISTS flowgauge.runs (
    tenant LowCardinality(String),
    run String,
    flow SimpleAggregateFunction(max, String),
    state AggregateFunction(argMax, String, Tuple(DateTime64(6, 'UTC'), UUID)),
    scheduled_for SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    seen_first SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    seen_last SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    started SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    ended SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    running_events AggregateFunction(uniqExactIf, UUID, UInt8),
    run_count SimpleAggregateFunction(max, UInt32),
    failed_message AggregateFunction(argMaxIf, String, Tuple(DateTime64(6, 'UTC'), UUID), UInt8),
    append_last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(seen_first)
ORDER BY (tenant, run)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000
