-- What finished in [since, until) against the four weeks before. A change is told in standard errors, so that neither
-- units nor few runs decide: of failures by their pooled share, of durations by their logarithms (Welch).
WITH
    (failed_recent + failed_before) / (runs_recent + runs_before) AS pooled,
    sqrt(pooled * (1 - pooled) * (1 / runs_recent + 1 / runs_before)) AS failure_error,
    sqrt(variance_recent / timed_recent + variance_before / timed_before) AS duration_error
SELECT
    NULL AS bucket,
    of,
    runs_recent AS runs,
    failed_recent AS failed,
    round(failed_recent / runs_recent, 6) AS failure_rate,
    if(runs_before = 0, NULL, round(failed_before / runs_before, 6)) AS failure_rate_before,
    round(p95_recent, 3) AS p95_seconds,
    round(p95_before, 3) AS p95_before_seconds,
    if(
        runs_before > 0 AND failure_error > 0,
        round((failed_recent / runs_recent - failed_before / runs_before) / failure_error, 3),
        NULL
    ) AS failure_z,
    if(
        timed_recent > 1 AND timed_before > 1 AND duration_error > 0,
        round((log_recent - log_before) / duration_error, 3),
        NULL
    ) AS duration_z
FROM (
    SELECT
        of,
        countIf(is_recent) AS runs_recent,
        countIf(NOT is_recent) AS runs_before,
        countIf(is_recent AND state IN ('failed', 'crashed')) AS failed_recent,
        countIf(NOT is_recent AND state IN ('failed', 'crashed')) AS failed_before,
        countIf(is_recent AND isNotNull(seconds)) AS timed_recent,
        countIf(NOT is_recent AND isNotNull(seconds)) AS timed_before,
        quantileExactInclusiveIfOrNull(0.95)(seconds, is_recent) AS p95_recent,
        quantileExactInclusiveIfOrNull(0.95)(seconds, NOT is_recent) AS p95_before,
        avgIf(log(greatest(seconds, 0.001)), is_recent) AS log_recent,
        avgIf(log(greatest(seconds, 0.001)), NOT is_recent) AS log_before,
        varSampIf(log(greatest(seconds, 0.001)), is_recent) AS variance_recent,
        varSampIf(log(greatest(seconds, 0.001)), NOT is_recent) AS variance_before
    FROM (
        -- runs by ended, and of the four weeks before
    )
    WHERE state IN ('completed', 'failed', 'crashed')
    GROUP BY of
    HAVING runs_recent > 0
)
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
