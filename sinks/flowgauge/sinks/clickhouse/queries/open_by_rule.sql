-- How many incidents of each rule and tenant are open, as `incidents` says what is.
SELECT rule, tenant, count() AS open
FROM (
    SELECT
        tenant,
        argMax(rule, seq) AS rule,
        argMax(to_state, seq) IN ('firing', 'recovering', 'no_data') AND NOT mapContains(any(key), 'event_id') AS is_open
    FROM flowgauge.transitions
    WHERE tenant = {tenant:String}
    GROUP BY tenant, incident_id
    HAVING countIf(to_state = 'firing') > 0 AND is_open
)
GROUP BY rule, tenant
ORDER BY rule, tenant
LIMIT {limit:UInt32}
