-- The newest dead letters, each once: the sink may send one twice. Only the values that are shown are read.
SELECT
    if(tenant = '', '', concat(toString(_partition), '@', toString(_offset))) AS letter,
    at_ms, reason, origin, size, detail, substring(value, 1, {value_chars:UInt32}) AS value_begin
FROM flowgauge.dlq
WHERE tenant IN {tenants:Array(String)}
    AND at_ms >= {since_ms:Int64}
    AND (_partition, _offset) IN (
        SELECT _partition, _offset
        FROM flowgauge.dlq
        WHERE tenant IN {tenants:Array(String)} AND at_ms >= {since_ms:Int64}
        ORDER BY at_ms DESC, _partition, _offset
        LIMIT 1 BY origin, source_partition, source_offset, if(source_offset < 0, (_partition, _offset), (0, 0))
        LIMIT {limit:UInt32}
    )
ORDER BY at_ms DESC, _partition, _offset
