CREATE MATERIALIZED VIEW IF NOT EXISTS flowgauge.run_ends_from_events TO flowgauge.run_ends_hourly AS
SELECT
    tenant,
    flow,
    toStartOfHour(occurred) AS hour,
    state,
    uniqExactState(if(events.run = '', resource['id'], events.run)) AS runs,
    max(_append) AS append_last
FROM flowgauge.events AS events
WHERE kind = 'flow-run' AND state IN ('completed', 'failed', 'crashed', 'cancelled')
GROUP BY tenant, flow, hour, state
