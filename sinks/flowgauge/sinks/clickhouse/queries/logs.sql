-- The newest log lines, each id once; `run_flows` then names the flow of lines that do not know it.
SELECT occurred AS time, level, flow, run, logger, message
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND kind = 'log'
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
    AND ({run:String} = '' OR run = {run:String})
    AND (empty({levels:Array(String)}) OR has({levels:Array(String)}, level))
    AND (
        {flow:String} = ''
        OR flow = {flow:String}
        OR (flow = '' AND run IN (
            SELECT run FROM flowgauge.runs WHERE tenant = {tenant:String} AND flow = {flow:String}
        ))
    )
    AND ({text:String} = '' OR positionCaseInsensitiveUTF8(message, {text:String}) > 0)
    -- words
ORDER BY occurred DESC, id
LIMIT 1 BY id
LIMIT {limit:UInt32}
