-- Ends of runs by hour of their end; an hour that begins before `since` but ends after it is whole.
SELECT hour, finished, failed, round(failed / finished, 6) AS failure_rate
FROM (
    SELECT
        hour,
        sum(ends) AS finished,
        sumIf(ends, state IN ('failed', 'crashed')) AS failed
    FROM (
        -- ends of runs by hour
    )
    GROUP BY hour
    ORDER BY hour DESC
    LIMIT {limit:UInt32}
)
ORDER BY hour
