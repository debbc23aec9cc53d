-- The days whose events were folded and indexed again after the views or indexes had changed: `target` tells to which.
CREATE TABLE IF NOT EXISTS flowgauge.backfills (
    target LowCardinality(String),
    day Date,
    done DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY (target, day)
SETTINGS non_replicated_deduplication_window = 10000
