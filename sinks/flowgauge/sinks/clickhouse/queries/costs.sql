-- The money in runs that ended in [since, until), by group and currency, against the four weeks before in the same length
-- of time. Waste is the money in runs that brought no result, and in attempts before the one that did; a run's attempts
-- count alike. What is late is shown beside it: its result came.
WITH
    {since_ms:Int64} AS since_ms,
    greatest(least({until_ms:Int64}, {now_ms:Int64}), {since_ms:Int64} + 1) AS until_ms,
    if(isNull(recent_bucket), since_ms, greatest(since_ms, toUnixTimestamp64Milli(assumeNotNull(recent_bucket)))) AS from_ms,
    if(
        isNull(recent_bucket),
        until_ms,
        least(until_ms, toUnixTimestamp64Milli(assumeNotNull(recent_bucket)) + {bucket_ms:Int64})
    ) AS to_ms
SELECT
    recent_bucket AS bucket,
    of,
    nullIf(currency, '') AS money,
    runs,
    group_cost AS cost,
    round(toFloat64(group_cost) / nullIf(toFloat64(total), 0), 6) AS share,
    round(earlier * greatest(to_ms - from_ms, 1) / 2419200000, 6) AS cost_before,
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
        maxIf(group_cost, NOT is_before AND is_total) OVER (PARTITION BY recent_bucket, currency) AS total,
        maxIf(group_cost, is_before) OVER (PARTITION BY is_total, of, currency) AS earlier,
        maxIf(runs, NOT is_before AND is_total) OVER (PARTITION BY recent_bucket, currency) AS currency_runs
    FROM (
        SELECT
            is_before,
            if(is_before, NULL, bucket) AS recent_bucket,
            is_total,
            of,
            currency,
            count() AS runs,
            sum(cost) AS group_cost,
            sumIf(assumeNotNull(cost), state = 'failed') AS failed_sum,
            sumIf(assumeNotNull(cost), state = 'crashed') AS crashed_sum,
            sumIf(assumeNotNull(cost) * (attempts - 1) / greatest(attempts, 1), state = 'completed' AND attempts > 1) AS retry_sum,
            sumIf(assumeNotNull(cost), state = 'completed' AND late_seconds * 1000 > {grace_ms:Int64}) AS late_sum,
            sum(bytes) AS group_bytes,
            sum(rows) AS group_rows
        FROM (
            SELECT
                *,
                arrayJoin(
                    arrayConcat(
                        [(true, '')],
                        arrayMap(
                            each -> (false, each),
                            <groups>
                        )
                    )
                ) AS counted,
                counted.1 AS is_total,
                counted.2 AS of
            FROM (
                -- costs of runs, and of the four weeks before
            )
        )
        GROUP BY is_before, recent_bucket, is_total, of, currency
    )
)
WHERE NOT is_before AND NOT is_total
ORDER BY recent_bucket DESC, isNull(cost), currency_runs DESC, currency, cost DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
