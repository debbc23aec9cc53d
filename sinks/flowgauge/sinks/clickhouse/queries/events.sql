-- Distinct events by minute of their event time.
SELECT toStartOfMinute(occurred) AS minute, uniqExact(id) AS events, round(events / 60, 3) AS per_second
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
    AND ({flow:String} = '' OR flow = {flow:String})
GROUP BY minute
ORDER BY minute DESC
LIMIT {limit:UInt32}
