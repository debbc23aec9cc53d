SELECT tenant, flow, hour, state, uniqExactMerge(runs) AS ends
FROM flowgauge.run_ends_hourly
WHERE tenant = {tenant:String}
    AND ({flow:String} = '' OR flow = {flow:String})
    AND state IN ('completed', 'failed', 'crashed')
    AND hour >= toStartOfHour(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'))
    AND hour < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
GROUP BY tenant, flow, hour, state
