-- Messages that differ only in what names one case are one error: times, quoted text, ids, parts of paths with digits and
-- numbers are masked. Past the first 500 characters messages do not differ. An apostrophe within a word quotes nothing.
CREATE MATERIALIZED VIEW IF NOT EXISTS flowgauge.failures_from_events TO flowgauge.failures AS
SELECT
    tenant,
    occurred,
    id,
    flow,
    run_key AS run,
    if(text_6 = '', '(no message)', text_6) AS error,
    message,
    _append
FROM (
    SELECT
        *,
        replaceRegexpAll(text_5, '[0-9]+(?:[.,:][0-9]+)*', '<n>') AS text_6,
        replaceRegexpAll(text_4, '/[\\w.\\-]*[0-9][\\w.\\-]*', '/<id>') AS text_5,
        replaceRegexpAll(
            text_3,
            '(?:\\b|_)(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|0[xX][0-9A-Fa-f]+|[0-9A-Fa-f]{8,}'
            || '|[A-Za-z0-9]*[0-9][A-Za-z]+[0-9][A-Za-z0-9]*)(?:\\b|_)',
            '<id>'
        ) AS text_4,
        replaceRegexpAll(text_2, '(^|[\\s(=:,\\[{])[ub]?\'[^\']*\'', '\\1<text>') AS text_3,
        replaceRegexpAll(text_1, '"[^"]*"|`[^`]*`', '<text>') AS text_2,
        replaceRegexpAll(
            trim(replaceRegexpAll(leftUTF8(message, 500), '\\s+', ' ')),
            '\\d{4}-\\d\\d-\\d\\d(?:[T ]\\d\\d:\\d\\d(?::\\d\\d(?:[.,]\\d+)?)?)?(?:Z|[+-]\\d\\d:?\\d\\d)?',
            '<time>'
        ) AS text_1
    FROM (
        SELECT
            tenant, occurred, id, flow, message, _append,
            if(events.run = '' AND kind = 'flow-run', resource['id'], events.run) AS run_key
        FROM flowgauge.events AS events
        WHERE if(
            kind = 'log',
            level IN ('ERROR', 'CRITICAL', 'FATAL'),
            kind IN ('flow-run', 'task-run') AND state IN ('failed', 'crashed')
        )
    )
)
