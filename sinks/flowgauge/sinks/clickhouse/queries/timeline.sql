-- What was told of one run or one resource, in the order in which it happened, each event once.
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
    if({since_ms:Int64} = 0 AND life.4 >= life.3, least(asked_until, life.3 + INTERVAL 1 DAY), asked_until) AS until
SELECT
    occurred AS time,
    round(
        dateDiff(
            'microsecond',
            lagInFrame(toNullable(occurred)) OVER (
                ORDER BY occurred, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
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
    SELECT *
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
    ORDER BY occurred, id
    LIMIT 1 BY tenant, id
    LIMIT {limit:UInt32}
)
ORDER BY occurred, id
