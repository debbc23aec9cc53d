-- About how many runs of each tenant something came of at `since` or later.
SELECT tenant, uniq(run) AS runs
FROM flowgauge.runs
WHERE inserted >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
GROUP BY tenant
ORDER BY tenant
