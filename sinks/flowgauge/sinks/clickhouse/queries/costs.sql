-- The money in runs that ended in [since, until), by group and currency, against the four weeks before in the same length
-- of time. Waste is the money in runs that brought no result, and in attempts before the one that did; a run's attempts
-- count alike. What is late is shown beside it: its result came.
SELECT
    recent_bucket AS bucket,
    of,
    nullIf(currency, '') AS money,
    runs,
    group_cost AS cost,
    round(toFloat64(group_cost) / nullIf(toFloat64(total), 0), 6) AS share,
    round(earlier * asked_ms / 2419200000, 6) AS cost_before,
    round(toFloat64(group_cost) / nullIf(toFloat64(cost_before), 0) - 1, 4) AS trend,
    if(currency = '', NULL, failed_sum + crashed_sum + retry_sum) AS waste,
    if(currency = '', NULL, failed_sum) AS failed_cost,
    if(currency = '', NULL, crashed_sum) AS crashed_cost,
    if(currency = '', NULL, retry_sum) AS retry_cost,
    if(currency = '', NULL, late_sum) AS late_cost,
    group_bytes AS bytes,
    group_rows AS rows
FROM (
    SELECT
        *,
        sum(own_cost) OVER (PARTITION BY is_before, recent_bucket, currency) AS total,
        sum(own_runs) OVER (PARTITION BY is_before, recent_bucket, currency) AS currency_runs,
        maxIf(group_cost, is_before) OVER (PARTITION BY of, currency) AS earlier,
        -- How much of the bucket lies in the time asked for, as far as that has come.
        greatest(
            1,
            least({until_ms:Int64}, {now_ms:Int64}, coalesce(toUnixTimestamp64Milli(recent_bucket) + {bucket_ms:Int64}, {until_ms:Int64}))
                - greatest({since_ms:Int64}, coalesce(toUnixTimestamp64Milli(recent_bucket), {since_ms:Int64}))
        ) AS asked_ms
    FROM (
        WITH <groups>
        SELECT
            is_before,
            if(is_before, NULL, bucket) AS recent_bucket,
            of,
            currency,
            count() AS runs,
            sum(cost) AS group_cost,
            -- Of runs in several groups in the first alone, so that sums hold them once.
            sumIf(cost, nth = 1) AS own_cost,
            countIf(nth = 1) AS own_runs,
            sumIf(assumeNotNull(cost), state = 'failed') AS failed_sum,
            sumIf(assumeNotNull(cost), state = 'crashed') AS crashed_sum,
            sumIf(assumeNotNull(cost) * (attempts - 1) / greatest(attempts, 1), state = 'completed' AND attempts > 1) AS retry_sum,
            sumIf(assumeNotNull(cost), state = 'completed' AND late_seconds * 1000 > {grace_ms:Int64}) AS late_sum,
            sum(bytes) AS group_bytes,
            sum(rows) AS group_rows
        FROM (
            -- costs of runs, and of the four weeks before
        )
        GROUP BY is_before, recent_bucket, of, currency
    )
)
WHERE NOT is_before
ORDER BY recent_bucket DESC, isNull(cost), currency_runs DESC, currency, cost DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
