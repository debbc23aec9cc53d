-- What each run that ended cost, once for each currency: what its events told, else its duration times the first
-- price that fits, else nothing that is known. Bytes and rows stand with its first currency, so that sums hold them once.
-- The engine plans each SELECT within another, and all that a name stands for wherever it is used: so there are two.
SELECT
    <carried>,
    flow,
    deployment,
    work_pool,
    team,
    is_before,
    bucket,
    money.1 AS currency,
    money.2 AS cost,
    if(place = 1, told_bytes, NULL) AS bytes,
    if(place = 1, told_rows, NULL) AS rows
FROM (
    SELECT
        <carried>,
        told_bytes,
        told_rows,
        toString(known.flow) AS flow,
        toString(known.deployment) AS deployment,
        toString(known.work_pool) AS work_pool,
        ended < fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') AS is_before,
        <bucket> AS bucket,
        <price> AS price,
        <team> AS team,
        if(notEmpty(told_costs), told_costs, <priced>) AS costs
    FROM (
        -- runs by ended<which>, known
    ) AS known
)
ARRAY JOIN costs AS money, arrayEnumerate(costs) AS place
