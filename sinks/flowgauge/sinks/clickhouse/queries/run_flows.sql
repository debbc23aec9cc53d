SELECT tenant, run, max(runs.flow) AS flow_name
FROM flowgauge.runs AS runs
WHERE tenant = {tenant:String}
    AND run IN {runs:Array(String)}
    AND has(arrayZip({tenants:Array(String)}, {runs:Array(String)}), (toString(tenant), run))
GROUP BY tenant, run
LIMIT 10000
