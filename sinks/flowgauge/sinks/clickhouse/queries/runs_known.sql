-- What is known of some runs: kept from the last fold, but for runs of which something came since; those are
-- folded now. Both branches see the same state of runs: questions share their snapshot.
<kept>
    AND (tenant, run) NOT IN (
        SELECT tenant, run
        FROM flowgauge.runs
        WHERE tenant = {tenant:String} AND inserted >= fromUnixTimestamp64Milli({folded_ms:Int64}, 'UTC')
    )
UNION ALL
SELECT <columns>
FROM flowgauge.runs_final
WHERE tenant = {tenant:String}
    AND (tenant, run) IN (
        SELECT tenant, run
        FROM flowgauge.runs
        WHERE tenant = {tenant:String} AND inserted >= fromUnixTimestamp64Milli({folded_ms:Int64}, 'UTC')
    )
    AND <where>
