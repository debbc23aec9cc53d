-- What finished in [since, until) against the four weeks before. A change is told in standard errors, so that neither
-- units nor few runs decide: of failures by their pooled share, of durations by their logarithms (Welch).
WITH
    (recent.failed + earlier.failed) / (recent.runs + earlier.runs) AS pooled,
    sqrt(pooled * (1 - pooled) * (1 / recent.runs + 1 / earlier.runs)) AS failure_error,
    sqrt(recent.log_variance / recent.timed + earlier.log_variance / earlier.timed) AS duration_error
SELECT
    NULL AS bucket,
    of,
    recent.runs AS runs,
    recent.failed AS failed,
    round(recent.failed / recent.runs, 6) AS failure_rate,
    if(earlier.runs = 0, NULL, round(earlier.failed / earlier.runs, 6)) AS failure_rate_before,
    round(recent.p95, 3) AS p95_seconds,
    round(earlier.p95, 3) AS p95_before_seconds,
    if(
        earlier.runs > 0 AND failure_error > 0,
        round((recent.failed / recent.runs - earlier.failed / earlier.runs) / failure_error, 3),
        NULL
    ) AS failure_z,
    if(
        recent.timed > 1 AND earlier.timed > 1 AND duration_error > 0,
        round((recent.log_mean - earlier.log_mean) / duration_error, 3),
        NULL
    ) AS duration_z
FROM (
    SELECT
        of,
        count() AS runs,
        countIf(state IN ('failed', 'crashed')) AS failed,
        count(seconds) AS timed,
        quantileExactInclusiveOrNull(0.95)(seconds) AS p95,
        avg(log(greatest(seconds, 0.001))) AS log_mean,
        varSamp(log(greatest(seconds, 0.001))) AS log_variance
    FROM (
        -- runs by ended
    )
    WHERE state IN ('completed', 'failed', 'crashed')
    GROUP BY of
) AS recent
LEFT JOIN (
    SELECT
        of,
        count() AS runs,
        countIf(state IN ('failed', 'crashed')) AS failed,
        count(seconds) AS timed,
        quantileExactInclusiveOrNull(0.95)(seconds) AS p95,
        avg(log(greatest(seconds, 0.001))) AS log_mean,
        varSamp(log(greatest(seconds, 0.001))) AS log_variance
    FROM (
        -- runs by ended, the four weeks before
    )
    WHERE state IN ('completed', 'failed', 'crashed')
    GROUP BY of
) AS earlier USING of
ORDER BY
    multiIf(
        {by:String} = 'failing', toFloat64(failed),
        {by:String} = 'slowest', coalesce(p95_seconds, -1),
        greatest(abs(coalesce(failure_z, 0)), abs(coalesce(duration_z, 0)))
    ) DESC,
    failure_rate DESC,
    of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
