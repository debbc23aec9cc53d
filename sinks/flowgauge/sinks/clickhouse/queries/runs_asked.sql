-- The runs whose <at> lies in [<from_ms>, {until_ms}), once for each thing that they are grouped by, in their bucket of
-- time. Of several tenants a flow, deployment, work pool or tag is told by its tenant too.
SELECT
    *,
    <at> >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS is_recent,
    if({everyone:Bool}, concat(tenant, '/'), '') AS whose,
    <of> AS of,
    <bucket> AS bucket
FROM (
    <known>
)
