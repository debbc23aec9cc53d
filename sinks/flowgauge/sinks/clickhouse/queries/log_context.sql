-- The log lines of `runs` that are at most `context` lines from one of `ids`, each id once, numbered within their run.
SELECT occurred AS time, level, flow, run, logger, message, id, toUnixTimestamp64Micro(occurred) AS occurred_us, number
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY run ORDER BY occurred, id) AS number,
        max(is_found) OVER (
            PARTITION BY run ORDER BY occurred, id
            ROWS BETWEEN {context:UInt32} PRECEDING AND {context:UInt32} FOLLOWING
        ) AS is_near
    FROM (
        SELECT id, occurred, level, flow, run, logger, message, has({ids:Array(UUID)}, id) AS is_found
        FROM flowgauge.events
        WHERE tenant = {tenant:String}
            AND kind = 'log'
            AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
            AND run IN {runs:Array(String)}
        ORDER BY occurred DESC, id
        LIMIT 1 BY id
    )
)
WHERE is_near
ORDER BY run, number
