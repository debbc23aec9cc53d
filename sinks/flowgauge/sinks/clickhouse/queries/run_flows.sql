SELECT tenant, run, max(runs.flow) AS flow_name
FROM flowgauge.runs AS runs
WHERE tenant = {tenant:String}
    AND run IN {runs:Array(String)}
GROUP BY tenant, run
LIMIT 10000
