-- From when to when a run lived, in ms since 1970; its end where it is known to have ended.
SELECT
    toUnixTimestamp64Milli(min(seen_first)) AS first_ms,
    toUnixTimestamp64Milli(max(seen_last)) AS last_ms,
    toUnixTimestamp64Milli(max(runs.ended)) AS ended_ms
FROM flowgauge.runs AS runs
WHERE tenant = {tenant:String} AND run = {run:String}
HAVING argMaxMerge(runs.state) != ''
