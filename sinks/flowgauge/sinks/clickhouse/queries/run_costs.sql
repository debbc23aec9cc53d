-- What each run that ended cost, once for each currency: what its events told, else its duration times the first
-- price that fits, else nothing that is known. Bytes and rows stand with its first currency, so that sums hold them once.
SELECT
    run, bucket, tags, state, attempts, ended, seconds, wait_seconds, late_seconds,
    toString(asked.flow) AS flow,
    toString(asked.deployment) AS deployment,
    toString(asked.work_pool) AS work_pool,
    NOT is_recent AS is_before,
    arrayFirstIndex(
        (a_flow, a_tag, a_pool) ->
            (a_flow = '' OR match(flow, a_flow))
            AND (a_tag = '' OR has(tags, a_tag))
            AND (a_pool = '' OR a_pool = work_pool),
        {price_flows:Array(String)}, {price_tags:Array(String)}, {price_work_pools:Array(String)}
    ) AS price,
    arrayFirstIndex(
        (a_flow, a_tag, a_pool) ->
            (a_flow = '' OR match(flow, a_flow))
            AND (a_tag = '' OR has(tags, a_tag))
            AND (a_pool = '' OR a_pool = work_pool),
        {team_flows:Array(String)}, {team_tags:Array(String)}, {team_work_pools:Array(String)}
    ) AS team_at,
    if(told_team = '', {teams:Array(String)}[team_at], told_team) AS team,
    round(
        toDecimal128OrNull({prices_per_hour:Array(String)}[price], 9) * dateDiff('microsecond', started, ended)
        / 3600000000,
        6
    ) AS estimate,
    multiIf(
        notEmpty(told_costs), told_costs,
        isNull(estimate), [('', CAST(NULL, 'Nullable(Decimal(38, 6))'))],
        [({price_currencies:Array(String)}[price], CAST(estimate, 'Nullable(Decimal(38, 6))'))]
    ) AS costs,
    arrayJoin(arrayEnumerate(costs)) AS place,
    costs[place].1 AS currency,
    costs[place].2 AS cost,
    if(place = 1, told_bytes, NULL) AS bytes,
    if(place = 1, told_rows, NULL) AS rows,
    cpu_sum, cpu_count, gpu_sum, gpu_count
FROM (
    -- runs by ended<which>, once each, with usage
) AS asked
