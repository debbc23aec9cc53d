-- Runs to compare: of each flow the first and the last that was heard of in one of these hours, and in each ten minutes of
-- the two hours before the opening.
SELECT arrayJoin([argMin(run, (occurred, run)), argMax(run, (occurred, run))]) AS chosen
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND kind = 'flow-run'
    AND flow IN {flows:Array(String)}
    AND run != ''
    AND toStartOfHour(occurred) IN (
        SELECT arrayJoin(arrayMap(each -> toDateTime(each, 'UTC'), {hours:Array(UInt32)}))
    )
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({opened_ms:Int64}, 'UTC')
GROUP BY
    flow,
    if(occurred >= fromUnixTimestamp64Milli({opened_ms:Int64} - 7200000, 'UTC'), 600, 3600) AS stretch_s,
    intDiv(toUnixTimestamp64Milli(occurred), stretch_s * 1000)
ORDER BY chosen
LIMIT {limit:UInt32}
SETTINGS max_execution_time = 2
