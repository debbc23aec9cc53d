-- The newest runs that something was heard of in [since, until).
SELECT
    tenant, run, flow, state, scheduled_for, started, ended, attempts, round(seconds, 3) AS seconds,
    failed_message AS message
FROM (
    -- runs heard of
)
WHERE ({flow:String} = '' OR flow = {flow:String})
    AND ({deployment:String} = '' OR deployment = {deployment:String})
    AND ({work_pool:String} = '' OR work_pool = {work_pool:String})
    AND ({tag:String} = '' OR has(tags, {tag:String}))
ORDER BY coalesce(started, scheduled_for, seen_first) DESC, run, tenant
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
