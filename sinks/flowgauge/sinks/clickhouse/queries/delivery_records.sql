-- What was recorded of one delivery, each record once, in order.
SELECT DISTINCT attempt, outcome, at_ms, status, elapsed_ms, reason, next_attempt_ms
FROM flowgauge.deliveries
WHERE tenant = {tenant:String} AND incident_id = {incident_id:String} AND delivery_id = {delivery_id:String}
ORDER BY attempt, at_ms, outcome != 'started'
LIMIT 1000
