-- As 0046, but of events at the same time the state that is farthest along counts: ids are random, and clocks coarse.
-- The id that is compared is made of the state. It is greater than any event's own: of what was folded by that, and has
-- the same time, a fold again wins (ADR 20).
ALTER TABLE flowgauge.runs_from_events MODIFY QUERY
SELECT
    tenant,
    run_key AS run,
    max(flow_name) AS flow,
    argMaxState(state_name, (occurred, step_id)) AS state,
    min(scheduled) AS scheduled_for,
    min(occurred) AS seen_first,
    max(occurred) AS seen_last,
    minOrNullIf(occurred, state_name = 'running') AS started,
    maxOrNullIf(occurred, state_name IN ('completed', 'failed', 'crashed', 'cancelled')) AS ended,
    uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events,
    max(toUInt32OrZero(resource['prefect.run-count'])) AS run_count,
    argMaxIfState(message, (occurred, id), toUInt8(state_name IN ('failed', 'crashed'))) AS failed_message,
    max(_append) AS append_last,
    max(deployment_thing['name']) AS deployment_name,
    max(deployment_thing['id']) AS deployment_id,
    max(work_pool_thing['name']) AS work_pool_name,
    max(work_pool_thing['id']) AS work_pool_id,
    maxMap(tags) AS tag_names,
    minOrNullIf(occurred, state_name IN ('late', 'pending')) AS queued,
    minOrNullIf(occurred, state_name = 'late') AS late_seen
FROM (
    SELECT
        tenant, id, occurred, resource, message, _append,
        scheduled_for AS scheduled,
        toString(flow) AS flow_name,
        toString(state) AS state_name,
        indexOf(
            [
                'scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling',
                'failed', 'crashed', 'cancelled', 'completed'
            ],
            state_name
        ) AS step,
        toUUID(concat('ffffffff-ffff-ffff-ffff-ffffffffff', hex(toUInt8(step)))) AS step_id,
        if(events.run = '', resource['id'], events.run) AS run_key,
        arrayFirst(each -> each['role'] = 'deployment', related) AS deployment_thing,
        arrayFirst(each -> each['role'] = 'work-pool', related) AS work_pool_thing,
        arrayFilter(each -> each['role'] = 'tag', related) AS tag_things,
        mapFromArrays(
            arrayMap(each -> replaceRegexpOne(each['id'], '^(prefect\\.)?tag\\.', ''), tag_things),
            arrayMap(each -> each['name'], tag_things)
        ) AS tags
    FROM flowgauge.events AS events
    WHERE kind = 'flow-run' AND state != ''
)
GROUP BY tenant, run_key
