-- Runs are folded until `to`.
INSERT INTO flowgauge.runs_folded_until SELECT fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
