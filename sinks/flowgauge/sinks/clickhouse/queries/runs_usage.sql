LEFT JOIN (
    SELECT *
    FROM flowgauge.run_usage_final
    WHERE tenant = {tenant:String}
        AND (tenant, run) IN (
            SELECT tenant, run
            FROM flowgauge.runs_touched
            WHERE tenant = {tenant:String} AND inserted >= fromUnixTimestamp64Milli({folded_ms:Int64}, 'UTC')
        )
) AS usage USING (tenant, run)
