-- What runs had to do with, and since when: versions, and the deployments, work pools and workers that they name. A row of
-- no name tells since when the flow was heard of at all.
SELECT
    flow_name,
    had.1 AS what,
    had.2 AS name,
    toUnixTimestamp64Milli(min(heard)) AS since_ms,
    argMin(run, (heard, run)) AS first_run
FROM (
    SELECT run, max(flow) AS flow_name, min(occurred) AS heard, groupUniqArrayArray(1000)(told) AS traits
    FROM (
        SELECT
            run, flow, occurred,
            arrayFilter(
                each -> each.2 != '',
                arrayConcat(
                    [('version', resource['version']), ('Prefect version', resource['prefect.version'])],
                    if(kind = 'worker', [('worker', if(resource['name'] = '', resource['id'], resource['name']))], []),
                    arrayMap(
                        each -> (concat(each['role'], ' version'), each['version']),
                        arrayFilter(each -> each['role'] IN ('flow', 'deployment'), related)
                    ),
                    arrayMap(
                        each -> (each['role'], if(each['name'] = '', each['id'], each['name'])),
                        arrayFilter(each -> each['role'] IN {roles:Array(String)}, related)
                    )
                )
            ) AS told
        FROM flowgauge.events
        WHERE tenant = {tenant:String}
            AND kind IN ('flow-run', 'worker')
            AND run IN {runs:Array(String)}
            AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
            AND occurred < fromUnixTimestamp64Milli({opened_ms:Int64}, 'UTC')
    )
    GROUP BY run
)
ARRAY JOIN arrayPushFront(traits, ('', '')) AS had
GROUP BY flow_name, what, name
ORDER BY since_ms DESC, what, name, flow_name
LIMIT {limit:UInt32}
SETTINGS max_execution_time = 2
