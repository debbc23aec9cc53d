-- The log lines of the runs of hits that are at most `context` lines from one, each once, numbered within their run.
-- Hits are `tenants`, `runs` and `ids`, place by place: runs of several tenants may have one name.
SELECT
    tenant, occurred AS time, level, flow, run, logger, message, id, toUnixTimestamp64Micro(occurred) AS occurred_us,
    number
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY tenant, run ORDER BY occurred, id) AS number,
        max(is_found) OVER (
            PARTITION BY tenant, run ORDER BY occurred, id
            ROWS BETWEEN {context:UInt32} PRECEDING AND {context:UInt32} FOLLOWING
        ) AS is_near
    FROM (
        SELECT
            tenant, id, occurred, level, flow, run, logger, message,
            has(arrayZip({tenants:Array(String)}, {ids:Array(UUID)}), (toString(tenant), id)) AS is_found
        FROM flowgauge.events
        WHERE tenant = {tenant:String}
            AND kind = 'log'
            AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
            AND run IN {runs:Array(String)}
            AND has(arrayZip({tenants:Array(String)}, {runs:Array(String)}), (toString(tenant), run))
        ORDER BY occurred DESC, id
        LIMIT 1 BY tenant, id
    )
)
WHERE is_near
ORDER BY tenant, run, number
