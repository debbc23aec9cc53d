SELECT seq, transition_id, from_state, to_state, at_ms, reason, value, threshold, samples, late_samples, window_ms
FROM flowgauge.transitions
WHERE tenant = {tenant:String} AND incident_id = {incident_id:String}
ORDER BY seq, transition_id
LIMIT 1 BY transition_id
LIMIT 1000
