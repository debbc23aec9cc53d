-- An event without a run id is about the run that its resource names.
CREATE MATERIALIZED VIEW IF NOT EXISTS flowgauge.runs_from_events TO flowgauge.runs AS
SELECT
    tenant,
    run_key AS run,
    max(flow_name) AS flow,
    argMaxState(state_name, (occurred, id)) AS state,
    min(scheduled) AS scheduled_for,
    min(occurred) AS seen_first,
    max(occurred) AS seen_last,
    minOrNullIf(occurred, state_name = 'running') AS started,
    maxOrNullIf(occurred, state_name IN ('completed', 'failed', 'crashed', 'cancelled')) AS ended,
    uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events,
    max(toUInt32OrZero(resource['prefect.run-count'])) AS run_count,
    argMaxIfState(message, (occurred, id), toUInt8(state_name IN ('failed', 'crashed'))) AS failed_message,
    max(_append) AS append_last
FROM (
    SELECT
        tenant, id, occurred, resource, message, _append,
        scheduled_for AS scheduled,
        toString(flow) AS flow_name,
        toString(state) AS state_name,
        if(events.run = '', resource['id'], events.run) AS run_key
    FROM flowgauge.events AS events
    WHERE kind = 'flow-run' AND state != ''
)
GROUP BY tenant, run_key
