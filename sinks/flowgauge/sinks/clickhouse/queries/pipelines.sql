-- What a result costs, by group and currency, of the runs that ended in [since, until), and by which share more than in
-- the four weeks before: with how much of the time went into waiting, running again and idling.
SELECT
    NULL AS bucket,
    of,
    nullIf(currency, '') AS money,
    runs,
    completed,
    group_cost AS cost,
    if(completed > 0, round(group_cost / completed, 6), NULL) AS cost_per_success,
    if(
        completed > 0 AND earlier.2 > 0 AND earlier.1 > 0,
        round(toFloat64(group_cost) / completed / (toFloat64(earlier.1) / earlier.2) - 1, 4),
        NULL
    ) AS cost_drift,
    round(p50, 3) AS p50_seconds,
    round(p50 / nullIf(earlier.3, 0) - 1, 4) AS duration_drift,
    round(work, 3) AS work_seconds,
    round(wait, 3) AS wait_seconds,
    round(coalesce(wait, 0) / nullIf(coalesce(wait, 0) + coalesce(work, 0), 0), 6) AS wait_share,
    retries,
    round(retried / runs, 6) AS retried_share,
    round(cpu, 4) AS cpu_utilization,
    round(gpu, 4) AS gpu_utilization
FROM (
    SELECT
        *,
        anyIf((group_cost, completed, p50), is_before) OVER (PARTITION BY of, currency) AS earlier,
        sumIf(runs, NOT is_before) OVER (PARTITION BY currency) AS currency_runs
    FROM (
        WITH <groups>
        SELECT
            is_before,
            of,
            currency,
            count() AS runs,
            countIf(state = 'completed') AS completed,
            sum(cost) AS group_cost,
            quantileExactInclusiveOrNullIf(0.5)(seconds, state IN ('completed', 'failed', 'crashed')) AS p50,
            sum(seconds) AS work,
            sum(wait_seconds) AS wait,
            sumIf(attempts - 1, attempts > 1) AS retries,
            countIf(attempts > 1) AS retried,
            sum(cpu_sum) / nullIf(sum(cpu_count), 0) AS cpu,
            sum(gpu_sum) / nullIf(sum(gpu_count), 0) AS gpu
        FROM (
            -- costs of runs, and of the four weeks before
        )
        GROUP BY is_before, of, currency
    )
)
WHERE NOT is_before
ORDER BY isNull(cost), currency_runs DESC, currency, cost DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
