-- The last error lines of each run, the newest first.
SELECT run, occurred AS time, level, logger, message
FROM (
    SELECT id, run, occurred, level, logger, message
    FROM flowgauge.events
    WHERE tenant = {tenant:String}
        AND kind = 'log'
        AND run IN {runs:Array(String)}
        AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
        AND level IN ('ERROR', 'CRITICAL', 'FATAL')
    ORDER BY occurred DESC, id
    LIMIT 1 BY id
)
ORDER BY time DESC, id
LIMIT {lines:UInt32} BY run
