(tenant, run) IN (
    SELECT tenant, run
    FROM flowgauge.runs
    WHERE tenant = {tenant:String} AND inserted >= fromUnixTimestamp64Milli({folded_ms:Int64}, 'UTC')
)
