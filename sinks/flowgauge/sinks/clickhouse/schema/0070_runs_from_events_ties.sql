-- As 0021, with the columns of 0030 and 0045. An event that tells no state of a flow run may tell what a run used: it says
-- nothing else of it, but that it was heard of.
-- Of events at the same time the state that is farthest along counts: ids are random, and clocks coarse. The id that is
-- compared is made of the state. It is greater than any event's own: of what was folded by that, and has the same time, a
-- fold again wins (ADR 20).
-- The search for the names of fields lets pass the few events that are worth reading as JSON. A value that is none is as
-- if it were not told: money is a number or a number in quotes, from 0 to below 10^12, rounded to six decimals, with a
-- currency of 1 to 16 letters; bytes and rows are whole numbers up to 2^53; utilisation lies between 0 and 1.
ALTER TABLE flowgauge.runs_from_events MODIFY QUERY
SELECT
    tenant,
    run_key AS run,
    max(flow_name) AS flow,
    argMaxStateIf(state_name, (occurred, step_id), is_state) AS state,
    min(scheduled) AS scheduled_for,
    min(occurred) AS seen_first,
    maxIf(occurred, is_state) AS seen_last,
    minOrNullIf(occurred, state_name = 'running') AS started,
    maxOrNullIf(occurred, state_name IN ('completed', 'failed', 'crashed', 'cancelled')) AS ended,
    uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events,
    maxIf(toUInt32OrZero(resource['prefect.run-count']), is_state) AS run_count,
    argMaxIfState(message, (occurred, id), toUInt8(state_name IN ('failed', 'crashed'))) AS failed_message,
    max(_append) AS append_last,
    max(deployment_thing['name']) AS deployment_name,
    max(deployment_thing['id']) AS deployment_id,
    max(work_pool_thing['name']) AS work_pool_name,
    max(work_pool_thing['id']) AS work_pool_id,
    maxMap(tags) AS tag_names,
    minOrNullIf(occurred, state_name IN ('late', 'pending')) AS queued,
    minOrNullIf(occurred, state_name = 'late') AS late_seen,
    max(if(team_thing['name'] = '', team_thing['id'], team_thing['name'])) AS team,
    groupUniqArrayArray(100000)(used_told) AS used
FROM (
    SELECT
        tenant, id, occurred, resource, message, _append,
        kind = 'flow-run' AND events.state != '' AS is_state,
        if(is_state, scheduled_for, NULL) AS scheduled,
        if(is_state, toString(flow), '') AS flow_name,
        if(is_state, toString(events.state), '') AS state_name,
        indexOf(
            [
                'scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling',
                'failed', 'crashed', 'cancelled', 'completed'
            ],
            state_name
        ) AS step,
        toUUID(concat('ffffffff-ffff-ffff-ffff-ffffffffff', hex(toUInt8(step)))) AS step_id,
        if(events.run = '', resource['id'], events.run) AS run_key,
        if(is_state, related, []) AS things,
        arrayFirst(each -> each['role'] = 'deployment', things) AS deployment_thing,
        arrayFirst(each -> each['role'] = 'work-pool', things) AS work_pool_thing,
        arrayFirst(each -> each['role'] = 'team', related) AS team_thing,
        arrayFilter(each -> each['role'] = 'tag', things) AS tag_things,
        mapFromArrays(
            arrayMap(each -> replaceRegexpOne(each['id'], '^(prefect\\.)?tag\\.', ''), tag_things),
            arrayMap(each -> each['name'], tag_things)
        ) AS tags,
        (kind = 'flow-run' OR events.run != '')
            AND multiSearchAny(payload, ['"cost"', '"bytes"', '"rows"', 'pu_utilization"']) AS names_usage,
        if(names_usage, payload, '') AS told,
        upper(JSONExtractString(told, 'cost', 'currency')) AS currency_told,
        round(toDecimal128OrNull(trim(BOTH '"' FROM JSONExtractRaw(told, 'cost', 'amount')), 18), 6) AS amount_told,
        match(currency_told, '^[A-Z]{1,16}$') AND amount_told >= 0 AND amount_told < 1000000000000 AS is_money,
        toUInt64OrNull(JSONExtractRaw(told, 'bytes')) AS bytes_told,
        toUInt64OrNull(JSONExtractRaw(told, 'rows')) AS rows_told,
        toFloat64OrNull(JSONExtractRaw(told, 'cpu_utilization')) AS cpu_told,
        toFloat64OrNull(JSONExtractRaw(told, 'gpu_utilization')) AS gpu_told,
        CAST(
            (
                id,
                if(is_money, currency_told, ''),
                if(is_money, accurateCastOrNull(amount_told, 'Decimal(18, 6)'), NULL),
                if(bytes_told <= 9007199254740992, bytes_told, NULL),
                if(rows_told <= 9007199254740992, rows_told, NULL),
                if(cpu_told BETWEEN 0 AND 1, cpu_told, NULL),
                if(gpu_told BETWEEN 0 AND 1, gpu_told, NULL)
            ),
            'Tuple(
                id UUID,
                currency String,
                cost Nullable(Decimal(18, 6)),
                bytes Nullable(UInt64),
                rows Nullable(UInt64),
                cpu_utilization Nullable(Float64),
                gpu_utilization Nullable(Float64)
            )'
        ) AS use,
        if(
            isNotNull(coalesce(use.cost, use.bytes, use.rows, use.cpu_utilization, use.gpu_utilization)),
            [use],
            []
        ) AS used_told
    FROM flowgauge.events AS events
    WHERE is_state OR names_usage
)
GROUP BY tenant, run_key
