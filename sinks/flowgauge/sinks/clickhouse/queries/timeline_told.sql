-- What was told of one run or one resource.
SELECT
    tenant,
    id,
    occurred,
    kind,
    multiIf(kind = 'log', logger, resource['name'] != '', resource['name'], resource['id']) AS name,
    event,
    state,
    level,
    message
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
    AND <about>
