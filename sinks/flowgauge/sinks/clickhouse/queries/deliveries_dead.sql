-- How many deliveries stand given up since, and when the newest was: of a channel, or of all that are no actions.
SELECT count() AS deliveries, max(latest.2) AS newest_ms
FROM (
    SELECT argMax((outcome, at_ms), (attempt, at_ms, outcome != 'started')) AS latest
    FROM flowgauge.deliveries
    WHERE tenant = {tenant:String}
        AND (channel = {channel:String} OR ({channel:String} = '' AND NOT startsWith(channel, {actions:String})))
        AND delivery_id IN (
            SELECT delivery_id
            FROM flowgauge.deliveries
            WHERE tenant = {tenant:String} AND outcome = 'dead' AND at_ms >= {since_ms:Int64}
        )
    GROUP BY delivery_id
)
WHERE latest.1 = 'dead' AND latest.2 >= {since_ms:Int64}
