-- Where the next runs of one tenant end of which something came: they lie in the table's order. No more runs: ''.
SELECT max(run) AS upto
FROM (
    SELECT DISTINCT run
    FROM flowgauge.runs
    WHERE tenant = {tenant:String}
        AND run > {after:String}
        AND inserted >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    ORDER BY run
    LIMIT {at_once:UInt32}
)
SETTINGS optimize_distinct_in_order = 1
