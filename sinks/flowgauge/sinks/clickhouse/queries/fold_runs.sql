-- Keeps the runs of some tenants of which something came at `since` or later; those in (after, upto], '' being no end.
INSERT INTO flowgauge.runs_folded
SELECT
    tenant, run, flow, deployment, work_pool, tags, state, scheduled_for, seen_first, seen_last, started, ended,
    due, expected, seconds, late_seconds, wait_seconds, attempts, failed_message,
    told_team, told_costs, told_bytes, told_rows, cpu_sum, cpu_count, gpu_sum, gpu_count,
    append_last, now64(3, 'UTC') AS folded
FROM flowgauge.runs_final
WHERE tenant IN {tenants:Array(String)}
    AND run > {after:String}
    AND ({upto:String} = '' OR run <= {upto:String})
    AND (tenant, run) IN (
        SELECT tenant, run
        FROM flowgauge.runs
        WHERE tenant IN {tenants:Array(String)}
            AND inserted >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND run > {after:String}
            AND ({upto:String} = '' OR run <= {upto:String})
    )
SETTINGS optimize_aggregation_in_order = 1
