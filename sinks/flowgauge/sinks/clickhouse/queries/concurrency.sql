-- How many runs ran at the same time: each from when it first ran to its end, or until now while it runs. Their number
-- changes at starts and ends; a step of 0 where a bucket begins carries it over. Of a run that first ran more than a
-- week before `since` nothing is counted.
WITH
    {since_ms:Int64} * 1000 AS since_us,
    {until_ms:Int64} * 1000 AS until_us,
    {bucket_ms:Int64} * 1000 AS size_us,
    345600000000 AS monday_us
SELECT
    fromUnixTimestamp64Micro(intDiv(at_us - monday_us, size_us) * size_us + monday_us, 'UTC') AS bucket_begin,
    of,
    max(running) AS max_runs,
    round(sum(running * (next_us - at_us)) / sum(next_us - at_us), 3) AS mean_runs
FROM (
    SELECT of, piece.1 AS at_us, piece.2 AS running, piece.3 AS next_us
    FROM (
        SELECT
            of,
            arraySort(
                arrayConcat(
                    groupArrayArray([(begin_us, toInt64(1)), (end_us, toInt64(-1))]),
                    arrayMap(
                        n -> (greatest(since_us, n * size_us + monday_us), toInt64(0)),
                        range(
                            toUInt64(intDiv(since_us - monday_us, size_us)),
                            toUInt64(intDiv(until_us - 1 - monday_us, size_us)) + 1
                        )
                    )
                )
            ) AS steps,
            arrayMap(step -> step.1, steps) AS times,
            arrayZip(
                times,
                arrayCumSum(arrayMap(step -> step.2, steps)),
                arrayPushBack(arrayPopFront(times), until_us)
            ) AS pieces
        FROM (
            SELECT
                of,
                greatest(since_us, toUnixTimestamp64Micro(assumeNotNull(started))) AS begin_us,
                least(
                    until_us,
                    multiIf(
                        isNotNull(ended), toUnixTimestamp64Micro(assumeNotNull(ended)),
                        state IN ('running', 'retrying', 'cancelling'), until_us,
                        toUnixTimestamp64Micro(seen_last)
                    )
                ) AS end_us
            FROM (
                -- runs by started, and of the week before
            )
        )
        WHERE end_us > begin_us
        GROUP BY of
    )
    ARRAY JOIN pieces AS piece
)
WHERE at_us < until_us AND next_us > at_us  -- what happens at one time is one change
GROUP BY bucket_begin, of
ORDER BY bucket_begin DESC, max_runs DESC, of
LIMIT {limit:UInt32}
SETTINGS optimize_aggregation_in_order = 1
