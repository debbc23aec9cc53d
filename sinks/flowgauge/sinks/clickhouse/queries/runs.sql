-- The newest runs that something was heard of in [since, until); only those are folded.
SELECT run, flow, state, scheduled_for, started, ended, attempts, round(seconds, 3) AS seconds, failed_message AS message
FROM flowgauge.runs_final
WHERE tenant = {tenant:String}
    AND run IN (
        SELECT run
        FROM flowgauge.runs AS runs
        WHERE tenant = {tenant:String}
            AND ({run:String} = '' OR run = {run:String})
            AND ({flow:String} = '' OR runs.flow IN ('', {flow:String}))
            AND seen_last >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    )
    AND ({flow:String} = '' OR flow = {flow:String})
    AND ({deployment:String} = '' OR deployment = {deployment:String})
    AND ({work_pool:String} = '' OR work_pool = {work_pool:String})
    AND ({tag:String} = '' OR has(tags, {tag:String}))
    AND seen_last >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND seen_first < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
ORDER BY coalesce(started, scheduled_for, seen_first) DESC, run
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
