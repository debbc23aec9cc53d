-- Keeps the runs of some tenants of which something came at `since` or later; of many runs only those of one slice.
INSERT INTO flowgauge.runs_folded
SELECT
    tenant, run, flow, deployment, work_pool, tags, state, scheduled_for, seen_first, seen_last, started, ended,
    due, expected, seconds, late_seconds, wait_seconds, attempts, failed_message, append_last,
    now64(3, 'UTC') AS folded
FROM flowgauge.runs_final
WHERE tenant IN {tenants:Array(String)}
    AND (tenant, run) IN (
        SELECT tenant, run
        FROM flowgauge.runs
        WHERE tenant IN {tenants:Array(String)}
            AND inserted >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND sipHash64(run) % {slices:UInt32} = {slice:UInt32}
    )
SETTINGS optimize_aggregation_in_order = 1
