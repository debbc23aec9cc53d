-- What was appended lately is found without a look at old parts: after a crash (see claims), and for backtests.
ALTER TABLE flowgauge.events ADD INDEX IF NOT EXISTS ix_append _append TYPE minmax GRANULARITY 1
