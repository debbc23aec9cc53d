-- Rows of before got that time just now; until it is written they have the time at which they are read.
ALTER TABLE flowgauge.runs MATERIALIZE COLUMN inserted
