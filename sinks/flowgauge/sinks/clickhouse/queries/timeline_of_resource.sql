-- What was told of one resource, in the order in which it happened, each event once.
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
    SELECT
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
        AND has(arrayMap(each -> each['id'], arrayPushFront(related, resource)), {resource:String})
    ORDER BY occurred, id
    LIMIT 1 BY id
    LIMIT {limit:UInt32}
)
ORDER BY occurred, id
