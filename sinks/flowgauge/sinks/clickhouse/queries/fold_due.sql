-- About how many runs of each tenant something came of at `since` or later, and of how many not all usage is kept.
SELECT tenant, uniq(run) AS runs, uniqIf(run, length(used) >= {used_max:UInt32}) AS full_runs
FROM flowgauge.runs
WHERE inserted >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
GROUP BY tenant
ORDER BY tenant
