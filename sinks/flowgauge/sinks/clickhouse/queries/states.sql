-- Each run once: by its present state, in the bucket in which it came into that.
SELECT
    bucket,
    of,
    count() AS runs,
    countIf(state = 'completed') AS completed,
    countIf(state = 'failed') AS failed,
    countIf(state = 'crashed') AS crashed,
    countIf(state = 'cancelled') AS cancelled,
    countIf(state IN ('running', 'retrying', 'cancelling')) AS running,
    countIf(state IN ('scheduled', 'late', 'pending', 'paused')) AS waiting,
    if(completed + failed + crashed = 0, NULL, round((failed + crashed) / (completed + failed + crashed), 6))
        AS failure_rate
FROM (
    -- runs by seen_last
)
GROUP BY bucket, of
ORDER BY bucket DESC, runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
