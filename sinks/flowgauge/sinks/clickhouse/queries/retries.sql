-- Of the runs that ended in [since, until): how often they ran again, and how many that saved.
SELECT
    bucket,
    of,
    count() AS runs,
    countIf(attempts > 1) AS retried,
    sumIf(attempts - 1, attempts > 1) AS retries,
    max(attempts) AS attempts_max,
    round(retried / runs, 6) AS retried_share,
    countIf(attempts > 1 AND state = 'completed') AS saved
FROM (
    -- runs by ended
)
GROUP BY bucket, of
ORDER BY bucket DESC, runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
