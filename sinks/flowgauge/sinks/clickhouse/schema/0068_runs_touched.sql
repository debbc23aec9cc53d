-- Of which runs ClickHouse took something when: their states, and what they used.
CREATE OR REPLACE VIEW flowgauge.runs_touched AS
SELECT tenant, run, inserted FROM flowgauge.runs
UNION ALL
SELECT tenant, run, inserted FROM flowgauge.run_usage
