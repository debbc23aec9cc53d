-- From the first time a run was running to its end, of the runs that ended in [since, until); drift is by which share
-- of the four weeks before that became longer.
SELECT
    told.1 AS bucket,
    of,
    told.2 AS runs,
    round(told.3[1], 3) AS p50_seconds,
    round(told.3[2], 3) AS p90_seconds,
    round(told.3[3], 3) AS p95_seconds,
    round(told.3[4], 3) AS p99_seconds,
    round(told.4, 3) AS max_seconds,
    runs_before,
    if(before[1] > 0, round(told.3[1] / before[1] - 1, 4), NULL) AS p50_drift,
    if(before[2] > 0, round(told.3[2] / before[2] - 1, 4), NULL) AS p90_drift,
    if(before[3] > 0, round(told.3[3] / before[3] - 1, 4), NULL) AS p95_drift,
    if(before[4] > 0, round(told.3[4] / before[4] - 1, 4), NULL) AS p99_drift
FROM (
    SELECT
        of,
        groupArrayIf((bucket_told, runs, quantiles, longest), is_recent) AS recent,
        anyIf(runs, NOT is_recent) AS runs_before,
        anyIf(quantiles, NOT is_recent) AS before
    FROM (
        SELECT
            of,
            is_recent,
            if(is_recent, bucket, NULL) AS bucket_told,
            count() AS runs,
            quantilesExactInclusive(0.5, 0.9, 0.95, 0.99)(assumeNotNull(seconds)) AS quantiles,
            max(assumeNotNull(seconds)) AS longest
        FROM (
            -- runs by ended, and of the four weeks before
        )
        WHERE state IN ('completed', 'failed', 'crashed') AND isNotNull(seconds)
        GROUP BY of, is_recent, bucket_told
    )
    GROUP BY of
)
ARRAY JOIN recent AS told
ORDER BY bucket DESC, runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
