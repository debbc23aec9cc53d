-- The runs whose <at> lies in [<from_ms>, <until_ms>), once for each thing that they are grouped by, in their bucket of time.
-- Only runs that something was heard of in that time, or that were due in it, are folded: the inner question reads a few
-- columns of all runs, the outer one all columns of those. A row of runs may know only a part of its run, so there an
-- empty flow or deployment is any. Buckets count from a Monday.
SELECT
    *,
    arrayJoin(
        multiIf(
            {per:String} = 'flow', [flow],
            {per:String} = 'deployment', [deployment],
            {per:String} = 'work_pool', [work_pool],
            {per:String} = 'tag', emptyArrayToSingle(tags),
            ['']
        )
    ) AS of,
    if(
        {bucket_ms:Int64} = 0,
        NULL,
        fromUnixTimestamp64Milli(
            intDiv(toUnixTimestamp64Milli(assumeNotNull(<at>)) - 345600000, greatest({bucket_ms:Int64}, 1))
            * {bucket_ms:Int64} + 345600000,
            'UTC'
        )
    ) AS bucket
FROM flowgauge.runs_final
WHERE tenant = {tenant:String}
    AND run IN (
        SELECT run
        FROM flowgauge.runs AS runs
        WHERE tenant = {tenant:String}
            AND ({flow:String} = '' OR runs.flow IN ('', {flow:String}))
            AND ({deployment:String} = '' OR runs.deployment_name IN ('', {deployment:String}))
            AND (
                (
                    seen_last >= fromUnixTimestamp64Milli(<from_ms>, 'UTC')
                    AND seen_first < fromUnixTimestamp64Milli(<until_ms>, 'UTC') + INTERVAL 15 SECOND
                )
                OR (
                    scheduled_for >= fromUnixTimestamp64Milli(<from_ms>, 'UTC')
                    AND scheduled_for < fromUnixTimestamp64Milli(<until_ms>, 'UTC')
                )
            )
    )
    AND ({flow:String} = '' OR flow = {flow:String})
    AND ({deployment:String} = '' OR deployment = {deployment:String})
    AND ({work_pool:String} = '' OR work_pool = {work_pool:String})
    AND ({tag:String} = '' OR has(tags, {tag:String}))
    AND <at> >= fromUnixTimestamp64Milli(<from_ms>, 'UTC')
    AND <at> < fromUnixTimestamp64Milli(<until_ms>, 'UTC')
