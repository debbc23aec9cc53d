-- Of the runs that first ran in [since, until): how late that was, where it is known when they were due, and how long
-- they waited, where it is known when they were queued. What is less than 10 ms early is on time: the clocks of a
-- scheduler and a worker agree no better, and some tell no more than milliseconds.
SELECT
    bucket,
    of,
    count() AS runs,
    count(late) AS due_runs,
    round(quantileExactInclusiveOrNull(0.5)(late), 3) AS late_p50_seconds,
    round(quantileExactInclusiveOrNull(0.95)(late), 3) AS late_p95_seconds,
    round(max(late), 3) AS late_max_seconds,
    count(wait_seconds) AS queued_runs,
    round(quantileExactInclusiveOrNull(0.5)(wait_seconds), 3) AS wait_p50_seconds,
    round(quantileExactInclusiveOrNull(0.95)(wait_seconds), 3) AS wait_p95_seconds,
    round(max(wait_seconds), 3) AS wait_max_seconds
FROM (
    SELECT *, if(late_seconds > -0.01 AND late_seconds < 0, 0, late_seconds) AS late
    FROM (
        -- runs by started
    )
)
GROUP BY bucket, of
ORDER BY bucket DESC, runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
