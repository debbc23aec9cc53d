-- One row: how much happens now (the last five minutes before `until`), and what became of runs since `since`.
WITH
    fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS since,
    fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC') AS until,
    (
        SELECT uniqExact(id)
        FROM flowgauge.events
        WHERE tenant = {tenant:String} AND occurred >= until - INTERVAL 5 MINUTE AND occurred < until
    ) AS recent,
    (
        SELECT (sum(ends), sumIf(ends, state IN ('failed', 'crashed')))
        FROM (
            SELECT tenant, flow, hour, state, uniqExactMerge(runs) AS ends
            FROM flowgauge.run_ends_hourly
            WHERE tenant = {tenant:String}
                AND state IN ('completed', 'failed', 'crashed')
                AND hour >= toStartOfHour(since) AND hour < until
            GROUP BY tenant, flow, hour, state
        )
    ) AS ended
SELECT
    toUInt64(recent) AS events_5m,
    round(recent / 300, 3) AS events_per_second_5m,
    ended.1 AS finished_since,
    ended.2 AS failed_since,
    if(finished_since = 0, NULL, round(failed_since / finished_since, 6)) AS failure_rate_since
