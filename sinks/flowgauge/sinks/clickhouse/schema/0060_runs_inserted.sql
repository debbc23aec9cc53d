-- When ClickHouse last took something of a run, by its own clock: what came since the runs were folded is told by it.
ALTER TABLE flowgauge.runs
    ADD COLUMN IF NOT EXISTS inserted SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3, 'UTC'),
    ADD INDEX IF NOT EXISTS ix_inserted inserted TYPE minmax GRANULARITY 1
