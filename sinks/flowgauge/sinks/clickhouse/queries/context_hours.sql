-- Hours in which runs of the flows ended: of each flow the last of every three in the day before the opening, and of every
-- twelve before that.
SELECT DISTINCT toUnixTimestamp(max(hour)) AS last_hour
FROM flowgauge.run_ends_hourly
WHERE tenant = {tenant:String}
    AND flow IN {flows:Array(String)}
    AND hour >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND hour < fromUnixTimestamp64Milli({opened_ms:Int64}, 'UTC')
GROUP BY
    flow,
    if(hour >= fromUnixTimestamp64Milli({day_ms:Int64}, 'UTC'), 3, 12) AS of_hours,
    intDiv(toUnixTimestamp(hour), of_hours * 3600)
ORDER BY last_hour
SETTINGS max_execution_time = 2
