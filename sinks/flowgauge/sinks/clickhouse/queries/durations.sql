-- From the first time a run was running to its end, of the runs that ended in [since, until).
SELECT
    flow,
    count() AS runs,
    round(quantileExactInclusive(0.5)(seconds), 3) AS p50_seconds,
    round(quantileExactInclusive(0.95)(seconds), 3) AS p95_seconds,
    round(max(seconds), 3) AS max_seconds
FROM flowgauge.runs_final
WHERE tenant = {tenant:String}
    AND ({flow:String} = '' OR flow = {flow:String})
    AND state IN ('completed', 'failed', 'crashed')
    AND ended >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND ended < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
    AND isNotNull(seconds)
GROUP BY flow
ORDER BY runs DESC, flow
LIMIT {limit:UInt32}
