-- Ends of runs by hour of their end; an hour that begins before `since` but ends after it is whole.
SELECT hour, finished, failed, round(failed / finished, 6) AS failure_rate
FROM (
    SELECT
        hour,
        sum(ends) AS finished,
        sumIf(ends, state IN ('failed', 'crashed')) AS failed
    FROM (
        SELECT tenant, flow, hour, state, uniqExactMerge(runs) AS ends
        FROM flowgauge.run_ends_hourly
        WHERE tenant = {tenant:String}
            AND ({flow:String} = '' OR flow = {flow:String})
            AND state IN ('completed', 'failed', 'crashed')
            AND hour >= toStartOfHour(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'))
            AND hour < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
        GROUP BY tenant, flow, hour, state
    )
    GROUP BY hour
    ORDER BY hour DESC
    LIMIT {limit:UInt32}
)
ORDER BY hour
