-- What was told of one run or one resource, in the order in which it happened, each event once. Of equal times a run begins
-- before its tasks, and these before what tells no state; they end before it. States are in the order of runs_from_events.
-- From 1970 on means: as long as the run lived, a day more on both sides for what its tasks and logs told then, and up to
-- the end while it is not known to have ended. Of a run that nothing is known of it means a week.
WITH
    (
        SELECT (count(), min(seen_first), max(seen_last), max(runs.ended))
        FROM flowgauge.runs AS runs
        WHERE tenant = {tenant:String} AND run = {run:String}
    ) AS life,
    fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC') AS asked_until,
    multiIf(
        {since_ms:Int64} > 0, fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'),
        life.1 = 0, asked_until - INTERVAL 7 DAY,
        life.2 - INTERVAL 1 DAY
    ) AS since,
    [
        'scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling',
        'failed', 'crashed', 'cancelled', 'completed'
    ] AS states,
    if({since_ms:Int64} = 0 AND life.4 >= life.3, least(asked_until, life.3 + INTERVAL 1 DAY), asked_until) AS until
SELECT
    occurred AS time,
    round(
        dateDiff(
            'microsecond',
            lagInFrame(toNullable(occurred)) OVER (
                ORDER BY occurred, step, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ),
            occurred
        ) / 1000000,
        6
    ) AS gap_seconds,
    kind,
    name,
    event,
    state,
    level,
    message
FROM (
    SELECT
        *,
        indexOf(states, state) AS state_number,
        state_number >= indexOf(states, 'failed') AS has_ended,
        multiIf(
            state_number = 0, 40,
            kind = 'flow-run', if(has_ended, 80, 0),
            if(has_ended, 60, 20)
        ) + state_number AS step
    FROM (
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
            AND occurred >= since
            AND occurred < until
            AND {run:String} != ''
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
            AND occurred >= since
            AND occurred < until
            AND {run:String} != ''
            AND kind = 'flow-run'
            AND run = ''
            AND resource['id'] = {run:String}
            AND ({resource:String} = '' OR has(arrayMap(each -> each['id'], arrayPushFront(related, resource)), {resource:String}))
        UNION ALL
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
            AND occurred >= since
            AND occurred < until
            AND {run:String} = ''
            AND has(arrayMap(each -> each['id'], arrayPushFront(related, resource)), {resource:String})
    )
    ORDER BY occurred, step, id
    LIMIT 1 BY tenant, id
    LIMIT {limit:UInt32}
)
ORDER BY occurred, step, id
