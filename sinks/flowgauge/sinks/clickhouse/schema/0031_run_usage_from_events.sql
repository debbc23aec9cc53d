-- The search for the names of fields lets pass the few events that are worth reading as JSON. A value that is none is as
-- if it were not told: money is a number or a number in quotes, from 0 to below 10^12, rounded to six decimals, with a
-- currency of 1 to 16 letters; bytes and rows are whole numbers up to 2^53; utilisation lies between 0 and 1.
CREATE MATERIALIZED VIEW IF NOT EXISTS flowgauge.run_usage_from_events TO flowgauge.run_usage AS
WITH
    upper(JSONExtractString(payload, 'cost', 'currency')) AS currency_told,
    round(toDecimal128OrNull(trim(BOTH '"' FROM JSONExtractRaw(payload, 'cost', 'amount')), 18), 6) AS amount_told,
    match(currency_told, '^[A-Z]{1,16}$') AND amount_told >= 0 AND amount_told < 1000000000000 AS is_money,
    toUInt64OrNull(JSONExtractRaw(payload, 'bytes')) AS bytes_told,
    toUInt64OrNull(JSONExtractRaw(payload, 'rows')) AS rows_told,
    toFloat64OrNull(JSONExtractRaw(payload, 'cpu_utilization')) AS cpu_told,
    toFloat64OrNull(JSONExtractRaw(payload, 'gpu_utilization')) AS gpu_told,
    arrayFirst(each -> each['role'] = 'team', related) AS team_thing
SELECT
    tenant,
    if(events.run = '', resource['id'], events.run) AS run,
    id,
    occurred,
    if(is_money, accurateCastOrNull(amount_told, 'Decimal(18, 6)'), NULL) AS cost,
    if(is_money, currency_told, '') AS currency,
    if(bytes_told <= 9007199254740992, bytes_told, NULL) AS bytes,
    if(rows_told <= 9007199254740992, rows_told, NULL) AS rows,
    if(cpu_told BETWEEN 0 AND 1, cpu_told, NULL) AS cpu_utilization,
    if(gpu_told BETWEEN 0 AND 1, gpu_told, NULL) AS gpu_utilization,
    if(team_thing['name'] = '', team_thing['id'], team_thing['name']) AS team,
    _append AS append_last
FROM flowgauge.events AS events
WHERE (events.run != '' OR kind = 'flow-run')
    AND (
        multiSearchAny(payload, ['"cost"', '"bytes"', '"rows"', 'pu_utilization"'])
        OR (kind = 'flow-run' AND state != '' AND arrayExists(each -> each['role'] = 'team', related))
    )
