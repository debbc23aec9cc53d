-- Incidents that fired, of the rules and keys of those shown and about their days: what decides which of these flap
-- (`schemas.flapping`). The days come as numbers, so that the table's index finds them; the newest are taken.
SELECT groupArray((incident_id, opened_ms, fired_ms, cleared_ms, ended_ms, by_edit)) AS lived
FROM (
    SELECT
        incident_id,
        any((rule, toJSONString(mapSort(key)))) AS alert,
        min(opened_at_ms) AS opened_ms,
        minIf(at_ms, to_state = 'firing') AS fired_ms,
        maxIf(at_ms, to_state = 'resolved') AS ended_ms,
        multiIf(
            ended_ms = 0, 0,
            argMaxIf(from_state, seq, to_state = 'resolved') = 'recovering', maxIf(at_ms, to_state = 'recovering'),
            ended_ms
        ) AS cleared_ms,
        argMaxIf(reason, seq, to_state = 'resolved') IN {edits:Array(String)} AS by_edit
    FROM flowgauge.transitions
    WHERE tenant = {tenant:String}
        AND intDiv(opened_at_ms, 86400000) IN {days:Array(Int64)}
        AND (rule, toJSONString(mapSort(key))) IN (
            SELECT rule, toJSONString(mapSort(key))
            FROM flowgauge.transitions
            WHERE tenant = {tenant:String}
                AND opened_at_ms IN {opened_ms:Array(Int64)}
                AND incident_id IN {shown:Array(String)}
        )
    GROUP BY incident_id
    HAVING countIf(to_state = 'firing') > 0
    ORDER BY opened_ms DESC
    LIMIT {limit:UInt32}
)
GROUP BY alert
