-- Transitions of before have none.
ALTER TABLE flowgauge.transitions ADD COLUMN IF NOT EXISTS runbook String CODEC(ZSTD(1))
