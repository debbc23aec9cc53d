-- An incident for each hour in which a flow failed at least twice: it fires 10 minutes into the hour, and resolves.
INSERT INTO flowgauge.transitions (
    transition_id, incident_id, seq, tenant, rule, rule_kind, rules_version, key, from_state, to_state, at_ms, opened_at_ms,
    reason, value, threshold, samples, late_samples, window_ms, examples, severity, labels, summary, notify,
    _log, _partition, _offset, _append
)
SELECT
    lower(hex(sipHash128(incident, seq))) AS transition_id,
    lower(hex(sipHash128(incident))) AS incident_id,
    toUInt32(step) AS seq,
    tenant,
    'many failures' AS rule,
    'failure_rate' AS rule_kind,
    1 AS rules_version,
    map('flow', flow) AS key,
    if(seq = 0, 'inactive', 'firing') AS from_state,
    if(seq = 0, 'firing', 'resolved') AS to_state,
    opened_at_ms + step * 1800000 AS at_ms,
    toUnixTimestamp(hour) * 1000 + 600000 AS opened_at_ms,
    if(seq = 0, 'above threshold', 'below threshold') AS reason,
    failed / (failed + 3) AS value,
    0.2 AS threshold,
    failed + 3 AS samples,
    0 AS late_samples,
    600000 AS window_ms,
    failures AS examples,
    'critical' AS severity,
    map('team', 'data') AS labels,
    '{{ flow }}: {{ value|percent }} of {{ samples }} runs failed' AS summary,
    ['ops'] AS notify,
    'month' AS _log,
    0 AS _partition,
    rowNumberInAllBlocks() AS _offset,
    fromUnixTimestamp64Milli(at_ms + 10000, 'UTC') AS _append
FROM (
    SELECT
        tenant,
        flow,
        toStartOfHour(occurred) AS hour,
        concat(tenant, flow, toString(hour)) AS incident,
        count() AS failed,
        groupArraySorted(5)((toUnixTimestamp64Micro(occurred), toString(id), run, toString(flow))) AS failures
    FROM flowgauge.events
    WHERE kind = 'flow-run' AND state IN ('failed', 'crashed') AND _log = 'month'
    GROUP BY tenant, flow, hour
    HAVING failed >= 2
)
ARRAY JOIN [0, 1] AS step
ORDER BY at_ms
SETTINGS max_partitions_per_insert_block = 0
