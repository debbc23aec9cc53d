-- Why runs and tasks failed, and what was logged as an error: messages that differ only in what names one case (times,
-- quoted text, ids, parts of paths with digits, numbers) are one error. Each event counts once, however often it came.
-- A log line that does not know its flow has that of its run. Groups beyond 400 MB go to disk; past the first 500
-- characters messages do not differ.
SELECT
    if(error = '', '(no message)', error) AS error,
    uniqExact(id) AS count,
    uniqExactIf(run_key, run_key != '') AS runs,
    uniqExactIf(flow_name, flow_name != '') AS flows,
    min(occurred) AS first_seen,
    max(occurred) AS last_seen,
    argMaxIf(run_key, (occurred, id), run_key != '') AS example_run
FROM (
    SELECT
        id,
        occurred,
        run_key,
        if(own_flow != '', own_flow, known_flow) AS flow_name,
        replaceRegexpAll(text_5, '[0-9]+(?:[.,:][0-9]+)*', '<n>') AS error,
        replaceRegexpAll(text_4, '/[\\w.\\-]*[0-9][\\w.\\-]*', '/<id>') AS text_5,
        replaceRegexpAll(
            text_3,
            '(?:\\b|_)(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|0[xX][0-9A-Fa-f]+|[0-9A-Fa-f]{8,}'
            || '|[A-Za-z0-9]*[0-9][A-Za-z]+[0-9][A-Za-z0-9]*)(?:\\b|_)',
            '<id>'
        ) AS text_4,
        -- An apostrophe within a word quotes nothing.
        replaceRegexpAll(text_2, '(^|[\\s(=:,\\[{])[ub]?\'[^\']*\'', '\\1<text>') AS text_3,
        replaceRegexpAll(text_1, '"[^"]*"|`[^`]*`', '<text>') AS text_2,
        replaceRegexpAll(
            trim(replaceRegexpAll(leftUTF8(message, 500), '\\s+', ' ')),
            '\\d{4}-\\d\\d-\\d\\d(?:[T ]\\d\\d:\\d\\d(?::\\d\\d(?:[.,]\\d+)?)?)?(?:Z|[+-]\\d\\d:?\\d\\d)?',
            '<time>'
        ) AS text_1
    FROM (
        SELECT
            id,
            occurred,
            message,
            toString(flow) AS own_flow,
            if(events.run = '' AND kind = 'flow-run', resource['id'], events.run) AS run_key
        FROM flowgauge.events AS events
        WHERE tenant = {tenant:String}
            AND kind IN ('log', 'flow-run', 'task-run')
            AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
            AND if(kind = 'log', level IN ('ERROR', 'CRITICAL', 'FATAL'), state IN ('failed', 'crashed'))
            AND (
                {run:String} = ''
                OR events.run = {run:String}
                OR (kind = 'flow-run' AND events.run = '' AND resource['id'] = {run:String})
            )
            AND (
                {flow:String} = ''
                OR flow = {flow:String}
                OR (flow = '' AND run_key IN (
                    SELECT run FROM flowgauge.runs WHERE tenant = {tenant:String} AND flow = {flow:String}
                ))
            )
            -- messages with {text:String}
    ) AS failed
    LEFT JOIN (
        SELECT run AS known_run, max(runs.flow) AS known_flow
        FROM flowgauge.runs AS runs
        WHERE tenant = {tenant:String}
            AND run IN (
                SELECT if(events.run = '' AND kind = 'flow-run', resource['id'], events.run)
                FROM flowgauge.events AS events
                WHERE tenant = {tenant:String}
                    AND kind IN ('log', 'flow-run', 'task-run')
                    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
                    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
                    AND if(kind = 'log', level IN ('ERROR', 'CRITICAL', 'FATAL'), state IN ('failed', 'crashed'))
                    AND flow = ''
            )
        GROUP BY run
    ) AS known ON failed.run_key = known.known_run
)
GROUP BY error
ORDER BY count DESC, last_seen DESC, error
LIMIT {limit:UInt32}
SETTINGS max_bytes_before_external_group_by = 400000000
