-- As in events.
ALTER TABLE flowgauge.transitions ADD COLUMN IF NOT EXISTS _log LowCardinality(String)
