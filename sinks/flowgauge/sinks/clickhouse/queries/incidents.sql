-- One row an incident that people were told of: how it stands (the latest transition) and why it fired (the latest
-- firing). What is told at once is a point, and never open: its key holds the id of an event.
SELECT
    incident_id,
    argMax((rule, rule_kind, toString(severity)), seq) AS rule_is,
    argMax(key, seq) AS key,
    argMax((to_state, at_ms, reason), seq) AS latest,
    min(opened_at_ms) AS opened_at_ms,
    argMaxIf(
        (value, threshold, samples, late_samples, window_ms, reason, at_ms),
        seq,
        to_state = 'firing'
    ) AS why,
    argMaxIf(examples, seq, to_state = 'firing') AS examples,
    argMax(labels, seq) AS labels,
    argMaxIf(summary, seq, to_state = 'firing') AS summary,
    argMaxIf(runbook, seq, to_state = 'firing') AS runbook_told,
    latest.1 IN ('firing', 'recovering', 'no_data') AND NOT mapContains(key, 'event_id') AS is_open
FROM flowgauge.transitions
WHERE tenant = {tenant:String}
    AND ({incident_id:String} = '' OR incident_id = {incident_id:String})
    AND ({id_begins:String} = '' OR startsWith(incident_id, {id_begins:String}))
GROUP BY incident_id
HAVING countIf(to_state = 'firing') > 0 AND (NOT {open_only:Bool} OR is_open)
ORDER BY opened_at_ms DESC, incident_id
LIMIT {limit:UInt32}
