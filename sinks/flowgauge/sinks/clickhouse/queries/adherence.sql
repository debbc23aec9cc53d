-- Of the runs that were expected in [since, until): how many started within the grace. A run that was cancelled before
-- it ran, and one whose grace is not over at `until`, or not yet now, are not judged.
SELECT
    bucket,
    of,
    count() AS runs,
    countIf(isNotNull(started) AND coalesce(late_seconds, 0) * 1000 <= {grace_ms:Int64}) AS on_time,
    countIf(isNotNull(started) AND coalesce(late_seconds, 0) * 1000 > {grace_ms:Int64}) AS late,
    countIf(isNull(started)) AS never_started,
    round(on_time / runs, 6) AS adherence
FROM (
    -- runs by expected
)
WHERE isNotNull(started)
    OR (
        state != 'cancelled'
        AND toUnixTimestamp64Milli(assumeNotNull(expected)) + {grace_ms:Int64} < least({until_ms:Int64}, {now_ms:Int64})
    )
GROUP BY bucket, of
ORDER BY bucket DESC, runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
