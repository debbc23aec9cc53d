-- The runs that ended in [since, until) by what they cost, the most expensive first, and how much of the cost they and
-- those before them explain. Runs of which no cost is known come last.
SELECT
    run,
    flow,
    nullIf(currency, '') AS money,
    cost,
    round(toFloat64(cost) / nullIf(toFloat64(total), 0), 6) AS share,
    round(toFloat64(so_far) / nullIf(toFloat64(total), 0), 6) AS cumulative_share,
    state,
    attempts,
    round(seconds, 3) AS seconds,
    rank,
    runs,
    countIf(isNotNull(cost) AND so_far - cost < total * 8 / 10) OVER (PARTITION BY currency) AS runs_to_80
FROM (
    SELECT
        run, flow, currency, cost, state, attempts, seconds,
        sum(cost) OVER (PARTITION BY currency) AS total,
        sum(cost) OVER (PARTITION BY currency ORDER BY cost DESC, run ROWS UNBOUNDED PRECEDING) AS so_far,
        row_number() OVER (PARTITION BY currency ORDER BY cost DESC, run) AS rank,
        count() OVER (PARTITION BY currency) AS runs
    FROM (
        -- costs of runs
    )
)
ORDER BY isNull(cost), runs DESC, currency, rank
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
