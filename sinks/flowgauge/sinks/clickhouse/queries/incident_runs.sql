SELECT run, flow, state, scheduled_for, started, ended, attempts, round(seconds, 3) AS seconds, failed_message AS message
FROM flowgauge.runs_final
WHERE tenant = {tenant:String} AND run IN {runs:Array(String)}
ORDER BY coalesce(ended, started, seen_first), run
