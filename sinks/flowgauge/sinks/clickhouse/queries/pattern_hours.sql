-- Finished and failed runs by the hour of their end, of the flows of `patterns` from `first` to `last`. Hours are those of
-- the clock in the zone `tz` since 1970: one that the clock repeats is one hour. In a zone that is half an hour off, an
-- hour holds what begins in it.
SELECT
    flow,
    groupArray(toInt32(toRelativeDayNum(hour, {tz:String})) * 24 + toHour(hour, {tz:String})) AS hours,
    groupArray(finished_runs) AS finished,
    groupArray(failed_runs) AS failed
FROM (
    SELECT flow, hour, sum(ends) AS finished_runs, sumIf(ends, state IN ('failed', 'crashed')) AS failed_runs
    FROM (
        SELECT flow, hour, state, uniqExactMerge(runs) AS ends
        FROM flowgauge.run_ends_hourly
        WHERE tenant = {tenant:String}
            AND flow >= {first:String}
            AND flow <= {last:String}
            AND state IN ('completed', 'failed', 'crashed')
            AND hour >= toStartOfHour(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'))
            AND hour < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
        GROUP BY flow, hour, state
    )
    GROUP BY flow, hour
)
GROUP BY flow
HAVING uniqExactIf(toDate(hour, {tz:String}), failed_runs > 0) >= 3
ORDER BY flow
