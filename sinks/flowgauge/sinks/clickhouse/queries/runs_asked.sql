-- The runs whose <at> lies in [<from_ms>, {until_ms}), once for each thing that they are grouped by, in their bucket of
-- time. Buckets count from a Monday. Of several tenants a flow, deployment, work pool or tag is told by its tenant too.
SELECT
    *,
    <at> >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS is_recent,
    if({everyone:Bool}, concat(tenant, '/'), '') AS whose,
    <of> AS of,
    if(
        {bucket_ms:Int64} = 0,
        NULL,
        fromUnixTimestamp64Milli(
            intDiv(toUnixTimestamp64Milli(assumeNotNull(<at>)) - 345600000, greatest({bucket_ms:Int64}, 1))
            * {bucket_ms:Int64} + 345600000,
            'UTC'
        )
    ) AS bucket
FROM (
    <known>
)
