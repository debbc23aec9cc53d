-- Deliveries as they stand, of which something was recorded since, or by how their ids begin.
SELECT
    delivery_id,
    any(transition_id) AS transition,
    any(incident_id) AS incident,
    any(rule) AS of_rule,
    any(channel) AS to_channel,
    any(to_state) AS told_state,
    max(attempt) AS attempts,
    argMax((outcome, status, reason, at_ms, next_attempt_ms, elapsed_ms), (attempt, at_ms, outcome != 'started')) AS latest
FROM flowgauge.deliveries
WHERE tenant = {tenant:String}
    AND startsWith(delivery_id, {id_begins:String})
    AND ({channel:String} = '' OR channel = {channel:String})
    AND delivery_id IN (
        SELECT delivery_id FROM flowgauge.deliveries WHERE tenant = {tenant:String} AND at_ms >= {since_ms:Int64}
    )
GROUP BY delivery_id
HAVING {outcome:String} = '' OR latest.1 = {outcome:String}
ORDER BY ({dead_first:Bool} AND latest.1 = 'dead') DESC, latest.4 DESC, delivery_id
LIMIT {limit:UInt32}
