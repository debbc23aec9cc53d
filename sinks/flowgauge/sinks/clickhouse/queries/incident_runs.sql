SELECT
    run, flow, state, scheduled_for, started, ended, attempts, round(seconds, 3) AS seconds, failed_message AS message,
    toUnixTimestamp64Milli(seen_first) AS first_ms,
    toUnixTimestamp64Milli(seen_last) AS last_ms
FROM (
    SELECT <made>
    FROM flowgauge.runs AS runs
    WHERE tenant = {tenant:String} AND run IN {runs:Array(String)}
    GROUP BY tenant, run
    HAVING argMaxMerge(runs.state) != ''
)
ORDER BY coalesce(ended, started, seen_first), run
