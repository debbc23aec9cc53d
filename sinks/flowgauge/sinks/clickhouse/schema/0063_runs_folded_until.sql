-- All that runs took before the greatest `until` is in runs_folded. One ahead of the clock that looks counts for nothing.
CREATE TABLE IF NOT EXISTS flowgauge.runs_folded_until (
    until DateTime64(3, 'UTC')
) ENGINE = MergeTree
ORDER BY until
TTL toDateTime(until) + INTERVAL 7 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000
