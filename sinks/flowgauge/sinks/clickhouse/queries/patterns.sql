-- The flows that failed on three days or more in the zone `tz`, which a pattern needs at least.
SELECT flow
FROM flowgauge.run_ends_hourly
WHERE tenant = {tenant:String}
    AND ({flow:String} = '' OR flow = {flow:String})
    AND state IN ('failed', 'crashed')
    AND hour >= toStartOfHour(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'))
    AND hour < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
GROUP BY flow
HAVING uniqExact(toDate(hour, {tz:String})) >= 3
ORDER BY flow
LIMIT {flows_max:UInt32}
