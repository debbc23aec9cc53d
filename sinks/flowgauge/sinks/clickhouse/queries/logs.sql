-- The newest log lines, each id once. `run_flows` then names the flow of lines that do not know it.
SELECT
    tenant, occurred AS time, level, flow, run, logger, message, id, toUnixTimestamp64Micro(occurred) AS occurred_us
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND kind = 'log'
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
    AND occurred <= fromUnixTimestamp64Micro({before_us:Int64}, 'UTC')
    AND (
        occurred < fromUnixTimestamp64Micro({before_us:Int64}, 'UTC')
        OR (id, toString(tenant)) > ({before_id:UUID}, {before_tenant:String})
    )
    AND ({run:String} = '' OR run = {run:String})
    -- of {levels:Array(String)}
    AND (
        {flow:String} = ''
        OR flow = {flow:String}
        OR (flow = '' AND (tenant, run) IN (
            SELECT tenant, run FROM flowgauge.runs WHERE tenant = {tenant:String} AND flow = {flow:String}
        ))
    )
    -- messages with {text:String}
ORDER BY occurred DESC, id, tenant
LIMIT 1 BY tenant, id
LIMIT {limit:UInt32}
