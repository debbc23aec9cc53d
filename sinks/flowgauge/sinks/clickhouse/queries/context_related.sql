-- Other incidents that were open between two moments and share a flow or a value of the key, the newest first. What is told
-- at once is never open.
SELECT
    incident_id,
    argMax((rule, toString(severity), to_state, at_ms), seq) AS latest,
    min(opened_at_ms) AS opened_ms,
    argMax(key, seq) AS key,
    argMaxIf(examples.flow, seq, to_state = 'firing') AS example_flows
FROM flowgauge.transitions
WHERE tenant = {tenant:String}
    AND opened_at_ms >= {since_ms:Int64}
    AND opened_at_ms < {until_ms:Int64}
    AND incident_id != {incident_id:String}
GROUP BY incident_id
HAVING countIf(to_state = 'firing') > 0
    AND NOT mapContains(key, 'event_id')
    AND (latest.3 IN ('firing', 'recovering', 'no_data') OR latest.4 > {opened_ms:Int64})
    AND (hasAny(mapValues(key), {shared:Array(String)}) OR hasAny(example_flows, {shared:Array(String)}))
ORDER BY opened_ms DESC, incident_id
LIMIT {limit:UInt32}
SETTINGS max_execution_time = 2
