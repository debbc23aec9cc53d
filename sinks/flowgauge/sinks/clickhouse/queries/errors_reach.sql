-- How far back the newest errors lie, as many as are asked for; some tell of no log line.
SELECT min(occurred_ms), count()
FROM (
    SELECT toUnixTimestamp64Milli(occurred) AS occurred_ms
    FROM flowgauge.failures
    WHERE tenant = {tenant:String}
        AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
        AND occurred <= fromUnixTimestamp64Micro({before_us:Int64}, 'UTC')
        AND ({run:String} = '' OR run = {run:String})
        AND ({flow:String} = '' OR has([{flow:String}, ''], flow))
    ORDER BY occurred DESC
    LIMIT {limit:UInt32}
)
