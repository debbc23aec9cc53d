-- Whether anything came of runs that is not folded yet.
SELECT 1
FROM flowgauge.runs
WHERE tenant = {tenant:String} AND inserted >= fromUnixTimestamp64Milli({folded_ms:Int64}, 'UTC')
LIMIT 1
