-- What was told of one run or one resource, in the order in which it happened, each event once. Of equal times a run begins
-- before its tasks, and these before what tells no state; they end before it. States are in the order of runs_from_events.
WITH [
    'scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling',
    'failed', 'crashed', 'cancelled', 'completed'
] AS states
SELECT
    occurred AS time,
    round(
        dateDiff(
            'microsecond',
            lagInFrame(toNullable(occurred)) OVER (
                ORDER BY occurred, step, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ),
            occurred
        ) / 1000000,
        6
    ) AS gap_seconds,
    kind,
    name,
    event,
    state,
    level,
    message
FROM (
    SELECT
        *,
        indexOf(states, state) AS state_number,
        state_number >= indexOf(states, 'failed') AS has_ended,
        multiIf(
            state_number = 0, 40,
            kind = 'flow-run', if(has_ended, 80, 0),
            if(has_ended, 60, 20)
        ) + state_number AS step
    FROM (
        <told>
    )
    ORDER BY occurred, step, id
    LIMIT 1 BY tenant, id
    LIMIT {limit:UInt32}
)
ORDER BY occurred, step, id
