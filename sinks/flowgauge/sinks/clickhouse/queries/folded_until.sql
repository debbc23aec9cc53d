-- Until when runs are folded, and ClickHouse's own clock. What a clock that was ahead has noted counts for nothing.
SELECT
    toUnixTimestamp64Milli(max(until)) AS until_ms,
    toUnixTimestamp64Milli(now64(3, 'UTC')) AS now_ms
FROM flowgauge.runs_folded_until
WHERE until <= now64(3, 'UTC')
