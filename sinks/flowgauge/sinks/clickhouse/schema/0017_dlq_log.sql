-- As in events.
ALTER TABLE flowgauge.dlq ADD COLUMN IF NOT EXISTS _log LowCardinality(String)
