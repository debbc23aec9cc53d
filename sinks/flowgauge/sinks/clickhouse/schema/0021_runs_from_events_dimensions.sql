-- As 0005, with the columns of 0020. A related thing is known by its name, else by its id: Prefect's tags have only ids.
ALTER TABLE flowgauge.runs_from_events MODIFY QUERY
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
    max(_append) AS append_last,
    max(deployment_name) AS deployment,
    max(work_pool_name) AS work_pool,
    groupUniqArrayArray(tag_names) AS tags,
    minOrNullIf(occurred, state_name IN ('late', 'pending')) AS queued,
    minOrNullIf(occurred, state_name = 'late') AS late_seen
FROM (
    WITH
        arrayFirst(each -> each['role'] = 'deployment', related) AS deployment_thing,
        arrayFirst(each -> each['role'] = 'work-pool', related) AS work_pool_thing
    SELECT
        tenant, id, occurred, resource, message, _append,
        scheduled_for AS scheduled,
        toString(flow) AS flow_name,
        toString(state) AS state_name,
        if(events.run = '', resource['id'], events.run) AS run_key,
        if(deployment_thing['name'] = '', deployment_thing['id'], deployment_thing['name']) AS deployment_name,
        if(work_pool_thing['name'] = '', work_pool_thing['id'], work_pool_thing['name']) AS work_pool_name,
        arrayMap(
            each -> if(each['name'] = '', replaceRegexpOne(each['id'], '^(prefect\\.)?tag\\.', ''), each['name']),
            arrayFilter(each -> each['role'] = 'tag', related)
        ) AS tag_names
    FROM flowgauge.events AS events
    WHERE kind = 'flow-run' AND state != ''
)
GROUP BY tenant, run_key
