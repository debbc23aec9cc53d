-- The runs of which something came that is not folded yet, as many as are asked for.
SELECT DISTINCT run
FROM flowgauge.runs
WHERE tenant = {tenant:String} AND inserted >= fromUnixTimestamp64Milli({folded_ms:Int64}, 'UTC')
LIMIT {limit:UInt32}
