-- What ended in the window of a rule that is firing: nothing at all means that the rule has no reading.
SELECT
    uniqExact(id) AS any_kind,
    uniqExactIf(id, kind = 'flow-run' AND state IN ('completed', 'failed', 'crashed')) AS finished,
    uniqExactIf(id, kind = 'flow-run' AND state IN ('failed', 'crashed')) AS failed
FROM flowgauge.events
WHERE tenant = {tenant:String}
    AND ({flow:String} = '' OR flow = {flow:String})
    AND NOT history
    AND state IN ('completed', 'failed', 'crashed', 'cancelled')
    AND occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
