-- All 7 x 24 slots, weekday 1 = Monday, in the time zone `tz`. The hours are those of UTC: in a zone that is half an
-- hour off, a slot holds the hour that begins in it.
SELECT
    intDiv(slot, 24) + 1 AS weekday,
    slot % 24 AS hour,
    finished,
    failed,
    if(finished = 0, NULL, round(failed / finished, 6)) AS failure_rate
FROM (SELECT toUInt16(number) AS slot FROM numbers(168)) AS slots
LEFT JOIN (
    SELECT
        toUInt16((toDayOfWeek(hour, 0, {tz:String}) - 1) * 24 + toHour(hour, {tz:String})) AS slot,
        sum(ends) AS finished,
        sumIf(ends, state IN ('failed', 'crashed')) AS failed
    FROM (
        -- ends of runs by hour
    )
    GROUP BY slot
) AS found USING slot
ORDER BY slot
