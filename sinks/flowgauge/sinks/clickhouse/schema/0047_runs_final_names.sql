-- As 0022, with the columns of 0030 and 0045, of runs of which a state is known: a thing goes by its name, else by what 0021 knew it by, else by its id.
-- due: when the orchestrator said that the run was to start, else 15 seconds before it called the run late: Prefect does
-- so that long after the expected start, and tells no other time. What is called late after it ran says nothing of that.
-- expected: the same, and for what Prefect scheduled and never called late, when it was queued.
-- A run waits from when it was queued and due, whichever came last, until it runs.
CREATE OR REPLACE VIEW flowgauge.runs_final AS
WITH maxMap(runs.tag_names) AS tag_names
SELECT
    tenant,
    run,
    max(runs.flow) AS flow,
    argMaxMerge(runs.state) AS state,
    min(runs.scheduled_for) AS scheduled_for,
    min(runs.seen_first) AS seen_first,
    max(runs.seen_last) AS seen_last,
    min(runs.started) AS started,
    if(state IN ('completed', 'failed', 'crashed', 'cancelled'), max(runs.ended), NULL) AS ended,
    greatest(uniqExactIfMerge(runs.running_events), max(runs.run_count)) AS attempts,
    argMaxIfMerge(runs.failed_message) AS failed_message,
    dateDiff('microsecond', started, ended) / 1000000 AS seconds,
    multiIf(
        max(runs.deployment_name) != '', max(runs.deployment_name),
        max(runs.deployment) != '', max(runs.deployment),
        max(runs.deployment_id)
    ) AS deployment,
    multiIf(
        max(runs.work_pool_name) != '', max(runs.work_pool_name),
        max(runs.work_pool) != '', max(runs.work_pool),
        max(runs.work_pool_id)
    ) AS work_pool,
    arraySort(arrayDistinct(arrayConcat(
        arrayMap((id, name) -> if(name = '', id, name), mapKeys(tag_names), mapValues(tag_names)),
        arrayFilter(tag -> NOT mapContains(tag_names, tag), groupUniqArrayArray(runs.tags))
    ))) AS tags,
    min(runs.queued) AS queued,
    coalesce(scheduled_for, if(started < min(runs.late_seen), NULL, min(runs.late_seen)) - INTERVAL 15 SECOND) AS due,
    coalesce(
        due,
        if(has(tags, 'auto-scheduled'), if(started < queued, started, coalesce(queued, started)), NULL)
    ) AS expected,
    dateDiff('microsecond', due, started) / 1000000 AS late_seconds,
    if(
        queued <= started,
        greatest(0, dateDiff('microsecond', greatest(queued, coalesce(due, queued)), started)) / 1000000,
        NULL
    ) AS wait_seconds,
    max(runs.append_last) AS append_last,
    max(runs.team) AS told_team,
    arraySort(groupUniqArrayArray(100000)(runs.used)) AS used,
    arraySort(arrayMap(
        of -> (
            of,
            CAST(
                arrayReduce('sum', arrayMap(use -> use.cost, arrayFilter(use -> use.currency = of, used))),
                'Nullable(Decimal(38, 6))'
            )
        ),
        arrayFilter(of -> of != '', arrayDistinct(used.currency))
    )) AS told_costs,
    arrayReduce('sumOrNull', arrayMap(use -> toUInt128(use.bytes), used)) AS told_bytes,
    arrayReduce('sumOrNull', arrayMap(use -> toUInt128(use.rows), used)) AS told_rows,
    arrayReduce('sumOrNull', used.cpu_utilization) AS cpu_sum,
    arrayReduce('count', used.cpu_utilization) AS cpu_count,
    arrayReduce('sumOrNull', used.gpu_utilization) AS gpu_sum,
    arrayReduce('count', used.gpu_utilization) AS gpu_count
FROM flowgauge.runs AS runs
GROUP BY tenant, run
HAVING state != ''
