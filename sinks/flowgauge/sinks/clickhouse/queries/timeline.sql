-- What was told of one run or one resource, in the order in which it happened, each event once. Of equal times a run begins
-- before its tasks, and these before what tells no state; they end before it. States are in the order of runs_from_events.
WITH [
    'scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling',
    'failed', 'crashed', 'cancelled', 'completed'
] AS states
SELECT
    tenant,
    occurred AS time,
    toUnixTimestamp64Micro(occurred) AS at_us,
    kind,
    multiIf(kind = 'log', logger, resource['name'] != '', resource['name'], resource['id']) AS name,
    event,
    state,
    level,
    message
FROM flowgauge.events
<first>
WHERE tenant = {tenant:String}
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
    AND <about>
ORDER BY
    occurred,
    indexOf(states, state) + multiIf(
        state = '', 40,
        kind = 'flow-run', if(indexOf(states, state) >= indexOf(states, 'failed'), 80, 0),
        if(indexOf(states, state) >= indexOf(states, 'failed'), 60, 20)
    ),
    id,
    tenant
LIMIT 1 BY tenant, id
LIMIT {limit:UInt32}
