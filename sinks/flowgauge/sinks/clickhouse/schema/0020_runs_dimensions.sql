-- What questions about runs narrow and group by, and since when a run waited. Runs that ended before have none of it.
ALTER TABLE flowgauge.runs
    ADD COLUMN IF NOT EXISTS deployment SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS work_pool SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS tags SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
    ADD COLUMN IF NOT EXISTS queued SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    ADD COLUMN IF NOT EXISTS late_seen SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC')))
