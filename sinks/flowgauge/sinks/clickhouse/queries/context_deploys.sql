-- Deploy events before an incident, of its flows or of no flow, the newest first.
SELECT
    toUnixTimestamp64Milli(occurred) AS at_ms,
    event,
    if(resource['name'] = '', resource['id'], resource['name']) AS name,
    flow,
    if(resource['version'] = '', JSONExtractString(payload, 'version'), resource['version']) AS version,
    JSONExtractString(payload, 'message') AS said
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND kind = 'other'
    AND (startsWith(event, 'deploy') OR event IN {events:Array(String)})
    AND (flow = '' OR flow IN {flows:Array(String)})
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({opened_ms:Int64}, 'UTC')
ORDER BY occurred DESC, id
LIMIT 1 BY id
LIMIT {limit:UInt32}
SETTINGS max_execution_time = 2
