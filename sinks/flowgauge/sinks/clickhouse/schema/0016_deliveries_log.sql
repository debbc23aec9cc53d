-- As in events.
ALTER TABLE flowgauge.deliveries ADD COLUMN IF NOT EXISTS _log LowCardinality(String)
