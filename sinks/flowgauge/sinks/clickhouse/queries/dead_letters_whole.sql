-- Dead letters with all that is kept of them, the newest first, each once (as in dead_letters). They are chosen without
-- their values, which are most of the bytes: only those that are told are read.
SELECT at_ms, reason, origin, size, detail, value, source_partition, source_offset, _partition, _offset
FROM flowgauge.dlq
WHERE tenant = {tenant:String}
    AND at_ms >= {since_ms:Int64}
    AND (_log, _partition, _offset) IN (
        SELECT _log, _partition, _offset
        FROM flowgauge.dlq
        WHERE tenant = {tenant:String}
            AND at_ms >= {since_ms:Int64}
            AND ({reason:String} = '' OR reason = {reason:String})
            AND ({source_partition:Int32} < 0 OR source_partition = {source_partition:Int32})
            AND ({source_offset:Int64} < 0 OR source_offset = {source_offset:Int64})
            AND ({letter_partition:Int32} < 0 OR _partition = {letter_partition:Int32})
            AND ({letter_offset:Int64} < 0 OR _offset = {letter_offset:Int64})
        ORDER BY at_ms DESC, _partition, _offset
        LIMIT 1 BY origin, source_partition, source_offset, if(source_offset < 0, (_partition, _offset), (0, 0))
        LIMIT {limit:UInt32}
    )
ORDER BY at_ms DESC, _partition, _offset
