-- Errors of a tenant by what they say, each event once, however often it came. A log line that does not know its flow has that of its
-- run. Groups beyond 400 MB go to disk.
SELECT
    tenant,
    error,
    uniqExact(id) AS count,
    uniqExactIf(run, run != '') AS runs,
    uniqExactIf(flow_name, flow_name != '') AS flows,
    min(occurred) AS first_seen,
    max(occurred) AS last_seen,
    argMaxIf(run, (occurred, id), run != '') AS example_run
FROM (
    SELECT failed.*, if(own_flow != '', own_flow, known_flow) AS flow_name
    FROM (
        SELECT tenant, id, occurred, run, error, toString(flow) AS own_flow
        FROM flowgauge.failures
        WHERE tenant = {tenant:String}
            AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
            AND ({run:String} = '' OR run = {run:String})
            AND (
                {flow:String} = ''
                OR flow = {flow:String}
                OR (flow = '' AND (tenant, run) IN (
                    SELECT tenant, run FROM flowgauge.runs WHERE tenant = {tenant:String} AND flow = {flow:String}
                ))
            )
            -- messages with {text:String}
    ) AS failed
    LEFT JOIN (
        SELECT tenant, run, max(runs.flow) AS known_flow
        FROM flowgauge.runs AS runs
        WHERE tenant = {tenant:String}
            AND (tenant, run) IN (
                SELECT tenant, run
                FROM flowgauge.failures
                WHERE tenant = {tenant:String}
                    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
                    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
                    AND flow = ''
            )
        GROUP BY tenant, run
    ) AS known ON failed.tenant = known.tenant AND failed.run = known.run
)
GROUP BY tenant, error
ORDER BY count DESC, last_seen DESC, error, tenant
LIMIT {limit:UInt32}
SETTINGS max_bytes_before_external_group_by = 400000000
