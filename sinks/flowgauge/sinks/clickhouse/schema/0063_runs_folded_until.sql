-- All that runs took before the greatest `until` is in runs_folded.
CREATE TABLE IF NOT EXISTS flowgauge.runs_folded_until (
    until SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
ORDER BY tuple()
SETTINGS non_replicated_deduplication_window = 10000
