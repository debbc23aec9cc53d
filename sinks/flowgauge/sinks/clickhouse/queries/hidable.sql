-- What a silence looks at, of incidents that are open now or opened since a time, as `incidents` says what is.
SELECT
    tenant,
    incident_id,
    argMax((rule, toString(severity)), seq) AS rule_is,
    argMax(key, seq) AS key,
    argMax(labels, seq) AS labels,
    min(opened_at_ms) AS opened_at_ms,
    argMax(to_state, seq) IN ('firing', 'recovering', 'no_data') AND NOT mapContains(key, 'event_id') AS is_open
FROM flowgauge.transitions
WHERE tenant = {tenant:String}
GROUP BY tenant, incident_id
HAVING countIf(to_state = 'firing') > 0 AND (is_open OR opened_at_ms >= {since_ms:Int64})
ORDER BY is_open DESC, opened_at_ms DESC, incident_id
LIMIT {limit:UInt32}
