-- One row a run. `ended` and `seconds` stand only while the latest state is an end; attempts is the orchestrator's own
-- count where it has one, else how often the run began to run.
CREATE VIEW IF NOT EXISTS flowgauge.runs_final AS
SELECT
    tenant,
    run,
    max(runs.flow) AS flow,
    argMaxMerge(runs.state) AS state,
    min(runs.scheduled_for) AS scheduled_for,
    min(runs.seen_first) AS seen_first,
    max(runs.seen_last) AS seen_last,
    min(runs.started) AS started,
    if(state IN ('completed', 'failed', 'crashed', 'cancelled'), max(runs.ended), NULL) AS ended,
    greatest(uniqExactIfMerge(runs.running_events), max(runs.run_count)) AS attempts,
    argMaxIfMerge(runs.failed_message) AS failed_message,
    dateDiff('microsecond', started, ended) / 1000000 AS seconds
FROM flowgauge.runs AS runs
GROUP BY tenant, run
