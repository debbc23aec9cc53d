-- The newest runs that something was heard of in [since, until).
SELECT run, flow, state, scheduled_for, started, ended, attempts, round(seconds, 3) AS seconds, failed_message AS message
FROM flowgauge.runs_final
WHERE tenant = {tenant:String}
    AND ({flow:String} = '' OR flow = {flow:String})
    AND ({run:String} = '' OR run = {run:String})
    AND seen_last >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND seen_first < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
ORDER BY coalesce(started, scheduled_for, seen_first) DESC, run
LIMIT {limit:UInt32}
