-- Until when runs are folded, and ClickHouse's own clock.
SELECT
    toUnixTimestamp64Milli(max(until)) AS until_ms,
    toUnixTimestamp64Milli(now64(3, 'UTC')) AS now_ms
FROM flowgauge.runs_folded_until
