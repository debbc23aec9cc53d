-- Whose a run is, and what its events say that it used: each event that says any of it once, however often it came. A retry
-- of a producer is the same event with the same values. Of more than 100,000 such events of a run some are left out: all
-- that is told of a run is in memory when it is folded (folding.USED_MAX).
ALTER TABLE flowgauge.runs
    ADD COLUMN IF NOT EXISTS team SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS used SimpleAggregateFunction(groupUniqArrayArray(100000), Array(Tuple(
        id UUID,
        currency String,
        cost Nullable(Decimal(18, 6)),
        bytes Nullable(UInt64),
        rows Nullable(UInt64),
        cpu_utilization Nullable(Float64),
        gpu_utilization Nullable(Float64)
    )))
