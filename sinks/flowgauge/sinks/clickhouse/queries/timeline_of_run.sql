-- What was told of one run.
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
    AND run = {run:String}
    AND ({resource:String} = '' OR has(arrayMap(each -> each['id'], arrayPushFront(related, resource)), {resource:String}))
UNION ALL
-- What names no run, and is about it.
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
    AND kind = 'flow-run'
    AND run = ''
    AND resource['id'] = {run:String}
    AND ({resource:String} = '' OR has(arrayMap(each -> each['id'], arrayPushFront(related, resource)), {resource:String}))
