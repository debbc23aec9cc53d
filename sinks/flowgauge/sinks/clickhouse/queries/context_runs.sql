-- Runs to compare: of each flow the first and the last that was heard of in a stretch of time. Stretches are shorter the
-- nearer they lie to the opening.
SELECT arrayJoin([argMin(run, (occurred, run)), argMax(run, (occurred, run))]) AS chosen
FROM (
    SELECT flow, run, occurred, intDiv({opened_ms:Int64} - toUnixTimestamp64Milli(occurred), 1000) AS age_s
    FROM flowgauge.events
    WHERE tenant = {tenant:String}
        AND kind = 'flow-run'
        AND flow IN {flows:Array(String)}
        AND run != ''
        AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
        AND occurred < fromUnixTimestamp64Milli({opened_ms:Int64}, 'UTC')
)
GROUP BY flow, multiIf(age_s < 7200, 600, age_s < 86400, 3600, 21600) AS stretch_s, intDiv(age_s, stretch_s)
ORDER BY chosen
LIMIT {limit:UInt32}
SETTINGS max_execution_time = 2
