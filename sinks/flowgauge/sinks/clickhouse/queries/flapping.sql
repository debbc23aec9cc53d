-- Incidents that fired within some time, by rule and key, where there are enough of them to flap: `schemas.flapping` says
-- what that means. Of a key the newest thousand count: one a minute and a half of a day.
SELECT
    rule,
    any(group_key) AS whose,
    groupArray(1000)((incident_id, opened_ms, fired_ms, cleared_ms, ended_ms)) AS lived
FROM (
    SELECT
        incident_id,
        argMax(rule, seq) AS rule,
        any(key) AS group_key,
        min(opened_at_ms) AS opened_ms,
        minIf(at_ms, to_state = 'firing') AS fired_ms,
        maxIf(at_ms, to_state = 'resolved') AS ended_ms,
        multiIf(
            ended_ms = 0, 0,
            argMaxIf(from_state, seq, to_state = 'resolved') = 'recovering', maxIf(at_ms, to_state = 'recovering'),
            ended_ms
        ) AS cleared_ms
    FROM flowgauge.transitions
    WHERE tenant = {tenant:String}
        AND opened_at_ms >= {since_ms:Int64}
        AND opened_at_ms <= {until_ms:Int64}
        AND NOT mapContains(key, 'event_id')
    GROUP BY incident_id
    HAVING countIf(to_state = 'firing') > 0
    ORDER BY opened_ms DESC
)
GROUP BY rule, toJSONString(mapSort(group_key))
HAVING count() >= {least:UInt32}
ORDER BY max(opened_ms) DESC, rule
LIMIT {limit:UInt32}
