-- From the first time a run was running to its end, of the runs that ended in [since, until); drift is by which share
-- of the four weeks before that became longer.
SELECT
    bucket,
    of,
    recent.runs AS runs,
    round(recent.quantiles[1], 3) AS p50_seconds,
    round(recent.quantiles[2], 3) AS p90_seconds,
    round(recent.quantiles[3], 3) AS p95_seconds,
    round(recent.quantiles[4], 3) AS p99_seconds,
    round(recent.longest, 3) AS max_seconds,
    earlier.runs AS runs_before,
    if(earlier.quantiles[1] > 0, round(recent.quantiles[1] / earlier.quantiles[1] - 1, 4), NULL) AS p50_drift,
    if(earlier.quantiles[2] > 0, round(recent.quantiles[2] / earlier.quantiles[2] - 1, 4), NULL) AS p90_drift,
    if(earlier.quantiles[3] > 0, round(recent.quantiles[3] / earlier.quantiles[3] - 1, 4), NULL) AS p95_drift,
    if(earlier.quantiles[4] > 0, round(recent.quantiles[4] / earlier.quantiles[4] - 1, 4), NULL) AS p99_drift
FROM (
    SELECT
        bucket,
        of,
        count() AS runs,
        quantilesExactInclusive(0.5, 0.9, 0.95, 0.99)(assumeNotNull(seconds)) AS quantiles,
        max(assumeNotNull(seconds)) AS longest
    FROM (
        -- runs by ended
    )
    WHERE state IN ('completed', 'failed', 'crashed') AND isNotNull(seconds)
    GROUP BY bucket, of
) AS recent
LEFT JOIN (
    SELECT
        of,
        count() AS runs,
        quantilesExactInclusive(0.5, 0.9, 0.95, 0.99)(assumeNotNull(seconds)) AS quantiles
    FROM (
        -- runs by ended, the four weeks before
    )
    WHERE state IN ('completed', 'failed', 'crashed') AND isNotNull(seconds)
    GROUP BY of
) AS earlier USING of
ORDER BY bucket DESC, runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
