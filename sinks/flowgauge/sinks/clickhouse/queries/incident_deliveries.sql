SELECT
    delivery_id,
    any(transition_id) AS transition,
    any(channel) AS to_channel,
    any(to_state) AS told_state,
    max(attempt) AS attempts,
    argMax((outcome, status, reason, at_ms, next_attempt_ms, elapsed_ms), (attempt, at_ms, outcome != 'started')) AS latest
FROM flowgauge.deliveries
WHERE tenant = {tenant:String} AND incident_id = {incident_id:String}
GROUP BY delivery_id
ORDER BY min(at_ms), delivery_id
LIMIT 1000
