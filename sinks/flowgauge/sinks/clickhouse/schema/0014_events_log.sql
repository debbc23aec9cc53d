-- Which log a row comes from: with partition and offset that is the one record it was made of.
ALTER TABLE flowgauge.events ADD COLUMN IF NOT EXISTS _log LowCardinality(String) AFTER extra
