-- Events of some runs as a busy orchestrator tells them, made inside ClickHouse: runs [first_run, first_run + runs).
--
--     206 events a run    6 of the run itself, 72 of its 24 tasks, 4 heartbeats, 124 log lines
--
-- Shapes, texts and sizes are those of captured Prefect events; ids begin with their time, as Prefect's do. 50 tenants of
-- very different size, 20 flows each. Some flows fail for hours, one fails at 02:00, some runs are late or run again.
INSERT INTO flowgauge.events (
    id, tenant, occurred, event, kind, flow, run, task, state, scheduled_for, resource, related, payload, follows,
    _log, _partition, _offset, _append
)
SELECT
    toUUID(concat(
        substring(occurred_hex, 1, 8), '-', substring(occurred_hex, 9, 4), '-7', substring(draw_hex, 1, 3),
        '-a', substring(draw_hex, 4, 3), '-', substring(leftPad(lower(hex(sipHash64(r, k, 'id2'))), 16, '0'), 1, 12)
    )) AS id,
    tenant_name AS tenant,
    fromUnixTimestamp64Micro(occurred_ms * 1000 + toInt64(draw % 1000), 'UTC') AS occurred,
    multiIf(
        kind = 'log', 'log.write',
        kind = 'task-run', concat('prefect.task-run.', state_name),
        concat('prefect.flow-run.', state_name)
    ) AS event,
    kind,
    flow_name AS flow,
    run_id AS run,
    task_id AS task,
    state,
    if(kind = 'flow-run' AND state != '', fromUnixTimestamp64Milli(due_ms, 'UTC'), NULL) AS scheduled_for,
    CAST(multiIf(
        kind = 'log', map('id', concat('prefect.flow-run.', run_id)),
        kind = 'task-run', map(
            'id', concat('prefect.task-run.', task_id), 'name', concat('step-', toString(task_number), '-', substring(task_id, 33, 3)),
            'prefect.run-count', '1', 'prefect.state-message', '', 'prefect.state-name', state_name,
            'prefect.state-timestamp', occurred_text, 'prefect.state-type', upper(state), 'prefect.orchestration', 'client'
        ),
        map(
            'id', concat('prefect.flow-run.', run_id), 'name', run_name, 'prefect.run-count', toString(run_count),
            'prefect.state-message', failed_message, 'prefect.state-name', state_name,
            'prefect.state-timestamp', occurred_text, 'prefect.state-type', upper(state)
        )
    ), 'Map(String, String)') AS resource,
    CAST(if(kind = 'log', [], arrayConcat(
        if(kind = 'task-run', [
            map('id', 'prefect.tag.db', 'role', 'tag'),
            map('id', concat('prefect.flow-run.', run_id), 'role', 'flow-run', 'name', run_name)
        ], []),
        [
            map('id', concat('prefect.flow.64a59e81-7c48-42cf-848f-', leftPad(toString(place), 12, '0')), 'role', 'flow', 'name', flow_name),
            map('id', concat('prefect.deployment.b024129f-f3f8-4466-a770-', leftPad(toString(place * 2 + r % 2), 12, '0')), 'role', 'deployment',
                'name', concat(flow_name, '/', if(r % 2 = 0, 'prod', 'staging'))),
            map('id', concat('prefect.work-pool.', pool), 'role', 'work-pool', 'name', pool),
            map('id', 'prefect.tag.auto-scheduled', 'role', 'tag'),
            map('id', concat('prefect.tag.', ['orders', 'ml', 'finance', 'daily', 'production'][place % 5 + 1]), 'role', 'tag')
        ]
    )), 'Array(Map(String, String))') AS related,
    multiIf(
        kind = 'log',
        concat(
            '{"level":', if(is_error_line, '"ERROR"', if(draw % 29 = 0, '"WARNING"', '"INFO"')), ',"logger":"prefect.', if(draw % 3 = 0, 'task_runs', 'flow_runs'),
            '","message":"', log_message, '"}'
        ),
        kind = 'task-run',
        concat(
            '{"intended":{"from":"', state_before, '","to":"', upper(state), '"},"initial_state":{"type":"', state_before,
            '","name":"', state_before, '","message":"","state_details":{}},"validated_state":{"type":"', upper(state), '","name":"', state_name,
            '","message":"","state_details":{"untrackable_result":true},"data":null},"task_run":{"name":"step-', toString(task_number), '-', substring(task_id, 33, 3),
            '","task_key":"step-12436467","dynamic_key":"', task_key,
            '","empirical_policy":{"max_retries":0,"retry_delay_seconds":0.0,"retries":0,"retry_delay":0},"tags":["db"],"labels":{},"task_inputs":{},"run_count":1,"flow_run_run_count":1,"expected_start_time":"',
            task_begun_text, '","start_time":"', task_begun_text, '","end_time":"', occurred_text, '","total_run_time":', toString((occurred_ms - started_ms) / 1000), '}}'
        ),
        concat(
            '{"intended":{"from":"', state_before, '","to":"', upper(state), '"},"initial_state":{"type":"', state_before, '","name":"', state_before,
            '"},"validated_state":{"type":"', upper(state), '","name":"', state_name, '"',
            if(failed_message = '', '', concat(',"message":"', failed_message, '"')), '}',
            if(k = 5, concat(',"bytes":', toString(draw % 9000000000), ',"rows":', toString(draw % 7000000)), ''), '}'
        )
    ) AS payload,
    if(kind = 'log' OR k = 0, NULL, toUUID(concat(
        substring(occurred_hex, 1, 8), '-', substring(occurred_hex, 9, 4), '-7a17-8', substring(draw_hex, 9, 3), '-',
        leftPad(lower(hex(sipHash64(r, k, 'follows'))), 12, '0')
    ))) AS follows,
    'month' AS _log,
    toUInt16(sipHash64(run_id) % 16) AS _partition,
    r * 206 + k AS _offset,
    fromUnixTimestamp64Milli(occurred_ms + toInt64(50 + draw % 400), 'UTC') AS _append
FROM (
    SELECT
        *,
        sipHash64(r, k) AS draw,
        leftPad(lower(hex(draw)), 16, '0') AS draw_hex,
        multiIf(k BETWEEN 6 AND 77, 'task-run', k < 82, 'flow-run', 'log') AS kind,
        intDiv(k - 6, 3) AS task_number,
        (k - 6) % 3 AS task_step,
        if(kind = 'task-run', concat(substring(run_id, 1, 19), leftPad(lower(hex(sipHash64(r, task_number, 'task'))), 4, '0'), '-', leftPad(lower(hex(sipHash64(r, task_number, 'task2'))), 12, '0')), '') AS task_id,
        leftPad(lower(hex(sipHash64(r, task_number, 'key'))), 16, '0') AS key_hex,
        concat(substring(key_hex, 1, 8), '-', substring(key_hex, 9, 4), '-4a97-969e-', leftPad(lower(hex(sipHash64(r, task_number, 'key2'))), 12, '0')) AS task_key,
        toInt64(multiIf(
            k = 0, due_ms - 60000,
            k = 1, if(is_late, due_ms + 15000, started_ms - 200),
            k = 2, started_ms - 100,
            k = 3, started_ms,
            k = 4, started_ms + intDiv(lasts_ms * 4, 10),
            k = 5, started_ms + lasts_ms,
            k < 78, started_ms + intDiv(lasts_ms * (task_number * 40 + task_step * if(task_step = 2, 19, 1)), 1000),
            k < 82, started_ms + intDiv(lasts_ms * (k - 77), 5),
            started_ms + intDiv(lasts_ms * (k - 82), 124)
        )) + toInt64(if(k > 5, draw % 50, 0)) AS occurred_ms,
        lower(hex(toUInt64(occurred_ms))) AS occurred_hex,
        concat(substring(toString(fromUnixTimestamp64Micro(occurred_ms * 1000 + toInt64(draw % 1000), 'UTC')), 1, 10), 'T',
               substring(toString(fromUnixTimestamp64Micro(occurred_ms * 1000 + toInt64(draw % 1000), 'UTC')), 12), '+00:00') AS occurred_text,
        if(kind = 'task-run', concat(replaceOne(toString(fromUnixTimestamp64Milli(started_ms + intDiv(lasts_ms * task_number * 40, 1000), 'UTC')), ' ', 'T'), 'Z'), '') AS task_begun_text,
        multiIf(
            kind = 'log', '',
            kind = 'task-run', ['pending', 'running', 'completed'][task_step + 1],
            k = 0, 'scheduled',
            k = 1, if(is_late, 'late', 'pending'),
            k = 2, 'pending',
            k = 3 OR (k = 4 AND is_again), 'running',
            k = 5, if(is_failed, if(r % 7 = 0, 'crashed', 'failed'), 'completed'),
            ''
        ) AS state,
        if(k = 2, 'Submitting', if(state = '', 'heartbeat', concat(upper(substring(state, 1, 1)), substring(state, 2)))) AS state_name,
        multiIf(state = 'running', 'PENDING', state IN ('completed', 'failed', 'crashed'), 'RUNNING', 'SCHEDULED') AS state_before,
        if(k > 3 AND is_again, 2, if(k < 3, 0, 1)) AS run_count,
        if(k = 5 AND is_failed, concat(
            'Flow run encountered an exception: ',
            ['ConnectionError: orders-db refused the connection', 'TimeoutError: no answer from warehouse in 30.0 s', 'KeyError: \'customer_id\'', 'MemoryError: worker killed'][place % 4 + 1]
        ), '') AS failed_message,
        kind = 'log' AND is_failed AND k > 201 AS is_error_line,
        multiIf(
            kind != 'log', '',
            is_error_line, concat('connection to orders-db refused (attempt ', toString(k - 201), ' of 4), run ', run_id),
            draw % 8 = 0, concat('Fetched ', toString(draw % 90000), ' rows from the warehouse in ', toString(draw % 977 / 100), ' s'),
            draw % 8 = 1, concat('epoch ', toString(k % 40), ' loss 0.', toString(draw % 1000)),
            draw % 8 = 2, concat('Created task run \'step-', toString(k % 24), '-', substring(draw_hex, 1, 3), '\' for task \'step\''),
            draw % 8 = 3, concat('Finished in state Completed() after ', toString(draw % 100000 / 1000), ' seconds'),
            draw % 8 = 4, concat('Wrote part ', toString(k % 124), ' of the partitioned output to s3://lake/', flow_name, '/part-', substring(draw_hex, 1, 8), '.parquet'),
            draw % 8 = 5, concat('Checksum ', draw_hex, ' agrees with what the source announced'),
            draw % 8 = 6, 'Heartbeat sent, queue is empty, waiting for the next batch of work',
            concat('batch ', toString(k), ' of customer ', toString(draw % 500000), ' done')
        ) AS log_message
    FROM (
        SELECT
            {first_run:UInt64} + number AS r,
            arrayJoin(range(toUInt16(206))) AS k,
            least(toUInt32(floor(50 * pow(sipHash64(r, 'tenant') / pow(2, 64), 1.65))), 49) AS t,
            t * 20 + toUInt32(sipHash64(r, 'flow') % 20) AS place,
            concat('team-', leftPad(toString(t), 2, '0')) AS tenant_name,
            concat(['extract', 'load', 'transform', 'train', 'notify'][place % 5 + 1], '-', leftPad(toString(place), 4, '0')) AS flow_name,
            concat('pool-', toString(place % 4)) AS pool,
            {start_ms:Int64} + intDiv(toInt64(r) * 86400000, {runs_a_day:Int64}) AS due_ms,
            sipHash64(r, 'late') % 40 = 0 AS is_late,
            due_ms + toInt64(if(is_late, 60000 + sipHash64(r, 'wait') % 900000, 300 + sipHash64(r, 'wait') % 4000)) AS started_ms,
            -- The sum of three draws: most runs of a flow take about as long.
            toInt64((20 + (place * 7919) % 1200) * (600 + (sipHash64(r, 'a') % 1000 + sipHash64(r, 'b') % 1000 + sipHash64(r, 'c') % 1000) * 4 / 15)) AS lasts_ms,
            multiIf(
                place = 7 AND toHour(fromUnixTimestamp64Milli(due_ms, 'UTC')) = 2, 60,
                place % 20 = 3 AND intDiv(due_ms, 21600000) % 4 = intDiv(place, 20) % 4, 40,
                2
            ) AS fails_of_100,
            sipHash64(r, 'end') % 100 < fails_of_100 AS is_failed,
            sipHash64(r, 'again') % 25 = 0 AS is_again,
            lower(hex(toUInt64(due_ms - 3600000))) AS made_hex,
            concat(
                substring(made_hex, 1, 8), '-', substring(made_hex, 9, 4), '-7', substring(leftPad(lower(hex(sipHash64(r, 'run'))), 16, '0'), 1, 3),
                '-a', substring(leftPad(lower(hex(sipHash64(r, 'run'))), 16, '0'), 4, 3), '-', substring(leftPad(lower(hex(sipHash64(r, 'run2'))), 16, '0'), 1, 12)
            ) AS run_id,
            concat(['able', 'bold', 'calm', 'deft', 'eager'][r % 5 + 1], '-', ['otter', 'lynx', 'mongrel', 'starfish'][sipHash64(r, 'name') % 4 + 1]) AS run_name
        FROM numbers({runs:UInt64})
    )
)
SETTINGS max_insert_block_size = 2000000, min_insert_block_size_rows = 2000000, min_insert_block_size_bytes = 0, max_partitions_per_insert_block = 0,
    optimize_on_insert = 0, deduplicate_insert = 'disable'
