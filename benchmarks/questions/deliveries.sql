-- Each of the month's transitions, told to one channel at the first attempt.
INSERT INTO flowgauge.deliveries (
    delivery_id, transition_id, incident_id, tenant, rule, channel, to_state, attempt, outcome, at_ms, status, elapsed_ms,
    reason, next_attempt_ms, _log, _partition, _offset, _append
)
SELECT
    lower(hex(sipHash128(transition_id, outcome))) AS delivery_id,
    transition_id, incident_id, tenant, rule, 'ops' AS channel, to_state, 1 AS attempt,
    outcome, at_ms + 12000 AS at_ms, if(outcome = 'started', 0, 200) AS status, 40 AS elapsed_ms,
    '' AS reason, 0 AS next_attempt_ms, _log, _partition, rowNumberInAllBlocks() AS _offset, _append
FROM flowgauge.transitions
ARRAY JOIN ['started', 'delivered'] AS outcome
WHERE _log = 'month'
SETTINGS max_partitions_per_insert_block = 0
