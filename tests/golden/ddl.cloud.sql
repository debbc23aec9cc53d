-- 0001_database.sql: makes something new
CREATE DATABASE IF NOT EXISTS observability;

-- 0002_schema_versions.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.schema_versions (
    version UInt32,
    name String,
    digest String,
    applied DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY version;

-- 0003_events.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.events (
    id UUID,
    tenant LowCardinality(String),
    occurred DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    event LowCardinality(String),
    kind LowCardinality(String) DEFAULT 'other',
    flow LowCardinality(String),
    run String CODEC(ZSTD(1)),
    task String CODEC(ZSTD(1)),
    state LowCardinality(String),
    scheduled_for Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    -- Keys as plain String: LowCardinality keys cost a third of the insert and save little under ZSTD(3).
    resource Map(String, String) CODEC(ZSTD(3)),
    related Array(Map(String, String)) CODEC(ZSTD(3)),
    payload String DEFAULT '{}' CODEC(ZSTD(3)),
    follows Nullable(UUID) CODEC(ZSTD(1)),
    extra String DEFAULT '{}' CODEC(ZSTD(1)),
    _partition UInt16 CODEC(ZSTD(1)),
    _offset UInt64 CODEC(Delta(8), ZSTD(1)),
    _append DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    -- What logs say, and why a run or task failed: its own message, else that of Prefect's state or the SDK's exception.
    message String MATERIALIZED if(
        kind = 'log' OR state IN ('failed', 'crashed'),
        coalesce(
            nullIf(JSONExtractString(payload, 'message'), ''),
            nullIf(JSONExtractString(payload, 'validated_state', 'message'), ''),
            JSONExtractString(payload, 'exception', 'message')
        ),
        ''
    ) CODEC(ZSTD(1)),
    level LowCardinality(String) MATERIALIZED if(kind = 'log', upper(JSONExtractString(payload, 'level')), ''),
    logger LowCardinality(String) MATERIALIZED if(kind = 'log', JSONExtractString(payload, 'logger'), ''),
    INDEX ix_run run TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_message message TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(message)),
    CONSTRAINT has_tenant CHECK tenant != '',
    CONSTRAINT has_event CHECK event != '',
    CONSTRAINT has_resource CHECK resource['id'] != '',
    CONSTRAINT is_near_append CHECK occurred >= _append - INTERVAL 400 DAY AND occurred <= _append + INTERVAL 86401 SECOND
) ENGINE = MergeTree
PARTITION BY toDate(occurred)
ORDER BY (tenant, kind, toStartOfHour(occurred), run, occurred)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0004_runs.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.runs (
    tenant LowCardinality(String),
    run String,
    flow SimpleAggregateFunction(max, String),
    state AggregateFunction(argMax, String, Tuple(DateTime64(6, 'UTC'), UUID)),
    scheduled_for SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    seen_first SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    seen_last SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    started SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    ended SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    running_events AggregateFunction(uniqExactIf, UUID, UInt8),
    run_count SimpleAggregateFunction(max, UInt32),
    failed_message AggregateFunction(argMaxIf, String, Tuple(DateTime64(6, 'UTC'), UUID), UInt8),
    append_last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(seen_first)
ORDER BY (tenant, run)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0005_runs_from_events.sql: makes something new
CREATE MATERIALIZED VIEW IF NOT EXISTS observability.runs_from_events TO observability.runs AS
SELECT
    tenant,
    run_key AS run,
    max(flow_name) AS flow,
    argMaxState(state_name, (occurred, id)) AS state,
    min(scheduled) AS scheduled_for,
    min(occurred) AS seen_first,
    max(occurred) AS seen_last,
    minOrNullIf(occurred, state_name = 'running') AS started,
    maxOrNullIf(occurred, state_name IN ('completed', 'failed', 'crashed', 'cancelled')) AS ended,
    uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events,
    max(toUInt32OrZero(resource['prefect.run-count'])) AS run_count,
    argMaxIfState(message, (occurred, id), toUInt8(state_name IN ('failed', 'crashed'))) AS failed_message,
    max(_append) AS append_last
FROM (
    SELECT
        tenant, id, occurred, resource, message, _append,
        scheduled_for AS scheduled,
        toString(flow) AS flow_name,
        toString(state) AS state_name,
        if(events.run = '', resource['id'], events.run) AS run_key
    FROM observability.events AS events
    WHERE kind = 'flow-run' AND state != ''
)
GROUP BY tenant, run_key;

-- 0006_runs_final.sql: makes something new
CREATE VIEW IF NOT EXISTS observability.runs_final AS
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
FROM observability.runs AS runs
GROUP BY tenant, run;

-- 0007_run_ends_hourly.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.run_ends_hourly (
    tenant LowCardinality(String),
    flow LowCardinality(String),
    hour DateTime('UTC'),
    state LowCardinality(String),
    runs AggregateFunction(uniqExact, String),
    append_last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, flow, hour, state)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0008_run_ends_from_events.sql: makes something new
CREATE MATERIALIZED VIEW IF NOT EXISTS observability.run_ends_from_events TO observability.run_ends_hourly AS
SELECT
    tenant,
    flow,
    toStartOfHour(occurred) AS hour,
    state,
    uniqExactState(if(events.run = '', resource['id'], events.run)) AS runs,
    max(_append) AS append_last
FROM observability.events AS events
WHERE kind = 'flow-run' AND state IN ('completed', 'failed', 'crashed', 'cancelled')
GROUP BY tenant, flow, hour, state;

-- 0009_clocks.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.clocks (
    log_id LowCardinality(String),
    topic LowCardinality(String),
    partition UInt16,
    end UInt64 CODEC(Delta(8), ZSTD(1)),
    clock_ms Int64 CODEC(Delta(8), ZSTD(1))
) ENGINE = ReplacingMergeTree
ORDER BY (log_id, topic, partition, end)
TTL toDateTime(intDiv(clock_ms, 1000)) + INTERVAL 400 DAY DELETE
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0010_transitions.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.transitions (
    transition_id String,
    incident_id String,
    seq UInt32,
    tenant LowCardinality(String),
    rule LowCardinality(String),
    rule_kind LowCardinality(String),
    rules_version UInt64,
    key Map(LowCardinality(String), String),
    from_state LowCardinality(String),
    to_state LowCardinality(String),
    at_ms Int64,
    opened_at_ms Int64,
    reason String,
    value Nullable(Float64),
    threshold Nullable(Float64),
    samples UInt64,
    late_samples UInt64,
    window_ms UInt64,
    examples Array(Tuple(occurred_us Int64, event_id String, run String, flow String)),
    severity LowCardinality(String),
    labels Map(LowCardinality(String), String),
    summary String CODEC(ZSTD(1)),
    notify Array(LowCardinality(String)),
    _partition UInt16,
    _offset UInt64,
    _append DateTime64(3, 'UTC'),
    INDEX ix_incident incident_id TYPE bloom_filter(0.01) GRANULARITY 1,
    CONSTRAINT has_incident CHECK incident_id != '' AND transition_id != ''
) ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, opened_at_ms, incident_id, seq)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0011_deliveries.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.deliveries (
    delivery_id String,
    transition_id String,
    incident_id String,
    tenant LowCardinality(String),
    rule LowCardinality(String),
    channel LowCardinality(String),
    to_state LowCardinality(String),
    attempt UInt32,
    outcome LowCardinality(String),
    at_ms Int64,
    status UInt16,
    elapsed_ms UInt32,
    reason LowCardinality(String),
    next_attempt_ms Int64,
    _partition UInt16,
    _offset UInt64,
    _append DateTime64(3, 'UTC'),
    CONSTRAINT has_delivery CHECK delivery_id != ''
) ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, incident_id, delivery_id, attempt, at_ms)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0012_dlq.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.dlq (
    tenant LowCardinality(String),
    reason LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    origin LowCardinality(String),
    at_ms Int64,
    value String CODEC(ZSTD(3)),
    size UInt64,
    source_partition Int32 DEFAULT -1,
    source_offset Int64 DEFAULT -1,
    _partition UInt16,
    _offset UInt64,
    _append DateTime64(3, 'UTC')
) ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, at_ms)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0013_events_by_append.sql: adds to the table's definition, no row is rewritten (events: 0 rows)
ALTER TABLE observability.events ADD INDEX IF NOT EXISTS ix_append _append TYPE minmax GRANULARITY 1;

-- 0014_events_log.sql: adds to the table's definition, no row is rewritten (events: 0 rows)
ALTER TABLE observability.events ADD COLUMN IF NOT EXISTS _log LowCardinality(String) AFTER extra;

-- 0015_transitions_log.sql: adds to the table's definition, no row is rewritten (transitions: 0 rows)
ALTER TABLE observability.transitions ADD COLUMN IF NOT EXISTS _log LowCardinality(String);

-- 0016_deliveries_log.sql: adds to the table's definition, no row is rewritten (deliveries: 0 rows)
ALTER TABLE observability.deliveries ADD COLUMN IF NOT EXISTS _log LowCardinality(String);

-- 0017_dlq_log.sql: adds to the table's definition, no row is rewritten (dlq: 0 rows)
ALTER TABLE observability.dlq ADD COLUMN IF NOT EXISTS _log LowCardinality(String);

-- 0020_runs_dimensions.sql: adds to the table's definition, no row is rewritten (runs: 0 rows)
ALTER TABLE observability.runs
    ADD COLUMN IF NOT EXISTS deployment SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS work_pool SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS tags SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
    ADD COLUMN IF NOT EXISTS queued SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    ADD COLUMN IF NOT EXISTS late_seen SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC')));

-- 0021_runs_from_events_dimensions.sql: changes what is asked or folded from now on, no row is touched
ALTER TABLE observability.runs_from_events MODIFY QUERY
SELECT
    tenant,
    run_key AS run,
    max(flow_name) AS flow,
    argMaxState(state_name, (occurred, id)) AS state,
    min(scheduled) AS scheduled_for,
    min(occurred) AS seen_first,
    max(occurred) AS seen_last,
    minOrNullIf(occurred, state_name = 'running') AS started,
    maxOrNullIf(occurred, state_name IN ('completed', 'failed', 'crashed', 'cancelled')) AS ended,
    uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events,
    max(toUInt32OrZero(resource['prefect.run-count'])) AS run_count,
    argMaxIfState(message, (occurred, id), toUInt8(state_name IN ('failed', 'crashed'))) AS failed_message,
    max(_append) AS append_last,
    max(deployment_name) AS deployment,
    max(work_pool_name) AS work_pool,
    groupUniqArrayArray(tag_names) AS tags,
    minOrNullIf(occurred, state_name IN ('late', 'pending')) AS queued,
    minOrNullIf(occurred, state_name = 'late') AS late_seen
FROM (
    WITH
        arrayFirst(each -> each['role'] = 'deployment', related) AS deployment_thing,
        arrayFirst(each -> each['role'] = 'work-pool', related) AS work_pool_thing
    SELECT
        tenant, id, occurred, resource, message, _append,
        scheduled_for AS scheduled,
        toString(flow) AS flow_name,
        toString(state) AS state_name,
        if(events.run = '', resource['id'], events.run) AS run_key,
        if(deployment_thing['name'] = '', deployment_thing['id'], deployment_thing['name']) AS deployment_name,
        if(work_pool_thing['name'] = '', work_pool_thing['id'], work_pool_thing['name']) AS work_pool_name,
        arrayMap(
            each -> if(each['name'] = '', replaceRegexpOne(each['id'], '^(prefect\\.)?tag\\.', ''), each['name']),
            arrayFilter(each -> each['role'] = 'tag', related)
        ) AS tag_names
    FROM observability.events AS events
    WHERE kind = 'flow-run' AND state != ''
)
GROUP BY tenant, run_key;

-- 0022_runs_final_dimensions.sql: changes what is asked or folded from now on, no row is touched
CREATE OR REPLACE VIEW observability.runs_final AS
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
    dateDiff('microsecond', started, ended) / 1000000 AS seconds,
    max(runs.deployment) AS deployment,
    max(runs.work_pool) AS work_pool,
    arraySort(groupUniqArrayArray(runs.tags)) AS tags,
    min(runs.queued) AS queued,
    coalesce(scheduled_for, if(started < min(runs.late_seen), NULL, min(runs.late_seen)) - INTERVAL 15 SECOND) AS due,
    coalesce(
        due,
        if(has(tags, 'auto-scheduled'), if(started < queued, started, coalesce(queued, started)), NULL)
    ) AS expected,
    dateDiff('microsecond', due, started) / 1000000 AS late_seconds,
    if(
        queued <= started,
        greatest(0, dateDiff('microsecond', greatest(queued, coalesce(due, queued)), started)) / 1000000,
        NULL
    ) AS wait_seconds
FROM observability.runs AS runs
GROUP BY tenant, run;

-- 0030_runs_used.sql: adds to the table's definition, no row is rewritten (runs: 0 rows)
ALTER TABLE observability.runs
    ADD COLUMN IF NOT EXISTS team SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS used SimpleAggregateFunction(groupUniqArrayArray(100000), Array(Tuple(
        id UUID,
        currency String,
        cost Nullable(Decimal(18, 6)),
        bytes Nullable(UInt64),
        rows Nullable(UInt64),
        cpu_utilization Nullable(Float64),
        gpu_utilization Nullable(Float64)
    )));

-- 0040_erased_tenants.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.erased_tenants (
    erased_tenant String,
    before DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(before)
ORDER BY erased_tenant;

-- 0045_runs_names.sql: adds to the table's definition, no row is rewritten (runs: 0 rows)
ALTER TABLE observability.runs
    ADD COLUMN IF NOT EXISTS deployment_name SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS deployment_id SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS work_pool_name SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS work_pool_id SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS tag_names SimpleAggregateFunction(maxMap, Map(String, String));

-- 0047_runs_final_names.sql: changes what is asked or folded from now on, no row is touched
CREATE OR REPLACE VIEW observability.runs_final AS
WITH maxMap(runs.tag_names) AS tag_names
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
    dateDiff('microsecond', started, ended) / 1000000 AS seconds,
    multiIf(
        max(runs.deployment_name) != '', max(runs.deployment_name),
        max(runs.deployment) != '', max(runs.deployment),
        max(runs.deployment_id)
    ) AS deployment,
    multiIf(
        max(runs.work_pool_name) != '', max(runs.work_pool_name),
        max(runs.work_pool) != '', max(runs.work_pool),
        max(runs.work_pool_id)
    ) AS work_pool,
    arraySort(arrayDistinct(arrayConcat(
        arrayMap((id, name) -> if(name = '', id, name), mapKeys(tag_names), mapValues(tag_names)),
        arrayFilter(tag -> NOT mapContains(tag_names, tag), groupUniqArrayArray(runs.tags))
    ))) AS tags,
    min(runs.queued) AS queued,
    coalesce(scheduled_for, if(started < min(runs.late_seen), NULL, min(runs.late_seen)) - INTERVAL 15 SECOND) AS due,
    coalesce(
        due,
        if(has(tags, 'auto-scheduled'), if(started < queued, started, coalesce(queued, started)), NULL)
    ) AS expected,
    dateDiff('microsecond', due, started) / 1000000 AS late_seconds,
    if(
        queued <= started,
        greatest(0, dateDiff('microsecond', greatest(queued, coalesce(due, queued)), started)) / 1000000,
        NULL
    ) AS wait_seconds,
    max(runs.append_last) AS append_last,
    max(runs.team) AS told_team,
    arraySort(groupUniqArrayArray(100000)(runs.used)) AS used,
    arraySort(arrayMap(
        of -> (
            of,
            CAST(
                arrayReduce('sum', arrayMap(use -> use.cost, arrayFilter(use -> use.currency = of, used))),
                'Nullable(Decimal(38, 6))'
            )
        ),
        arrayFilter(of -> of != '', arrayDistinct(used.currency))
    )) AS told_costs,
    arrayReduce('sumOrNull', arrayMap(use -> toUInt128(use.bytes), used)) AS told_bytes,
    arrayReduce('sumOrNull', arrayMap(use -> toUInt128(use.rows), used)) AS told_rows,
    arrayReduce('sumOrNull', used.cpu_utilization) AS cpu_sum,
    arrayReduce('count', used.cpu_utilization) AS cpu_count,
    arrayReduce('sumOrNull', used.gpu_utilization) AS gpu_sum,
    arrayReduce('count', used.gpu_utilization) AS gpu_count
FROM observability.runs AS runs
GROUP BY tenant, run
HAVING state != '';

-- 0055_events_indexes.sql: adds to the table's definition, no row is rewritten (events: 0 rows)
ALTER TABLE observability.events
    ADD INDEX IF NOT EXISTS ix_words lowerUTF8(replaceRegexpAll(message, '[\\x{80}-\\x{BF}\\x{D7}\\x{F7}\\x{2000}-\\x{2BFF}\\x{2E00}-\\x{2E7F}\\x{3000}-\\x{303F}\\x{FF00}-\\x{FF0F}\\x{FF1A}-\\x{FF20}\\x{FF3B}-\\x{FF40}\\x{FF5B}-\\x{FF65}\\x{FFFD}\\x{1F000}-\\x{1FAFF}]', ' ')) TYPE text(tokenizer = splitByNonAlpha),
    ADD INDEX IF NOT EXISTS ix_resources arrayMap(each -> each['id'], arrayPushFront(related, resource)) TYPE bloom_filter(0.01) GRANULARITY 1,
    DROP INDEX IF EXISTS ix_message;

-- 0056_backfills.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.backfills (
    target LowCardinality(String),
    day Date,
    done DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY (target, day)
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0060_runs_inserted.sql: adds to the table's definition, no row is rewritten (runs: 0 rows)
ALTER TABLE observability.runs
    ADD COLUMN IF NOT EXISTS inserted SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3, 'UTC'),
    ADD INDEX IF NOT EXISTS ix_inserted inserted TYPE minmax GRANULARITY 1;

-- 0061_runs_inserted_before.sql: rewrites the parts of the table (runs: 0 rows)
ALTER TABLE observability.runs MATERIALIZE COLUMN inserted;

-- 0062_runs_folded.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.runs_folded (
    tenant LowCardinality(String),
    run String CODEC(ZSTD(1)),
    flow LowCardinality(String),
    deployment LowCardinality(String),
    work_pool LowCardinality(String),
    tags Array(LowCardinality(String)),
    state LowCardinality(String),
    scheduled_for Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    seen_first DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    seen_last DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    started Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    ended Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    due Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    expected Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    seconds Nullable(Float64) CODEC(ZSTD(1)),
    late_seconds Nullable(Float64) CODEC(ZSTD(1)),
    wait_seconds Nullable(Float64) CODEC(ZSTD(1)),
    attempts UInt64 CODEC(ZSTD(1)),
    failed_message String CODEC(ZSTD(3)),
    told_team LowCardinality(String),
    told_costs Array(Tuple(currency String, cost Nullable(Decimal(38, 6)))) CODEC(ZSTD(1)),
    told_bytes Nullable(UInt128) CODEC(ZSTD(1)),
    told_rows Nullable(UInt128) CODEC(ZSTD(1)),
    cpu_sum Nullable(Float64) CODEC(ZSTD(1)),
    cpu_count UInt64 CODEC(ZSTD(1)),
    gpu_sum Nullable(Float64) CODEC(ZSTD(1)),
    gpu_count UInt64 CODEC(ZSTD(1)),
    append_last DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    folded DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    INDEX ix_seen_first seen_first TYPE minmax GRANULARITY 1,
    INDEX ix_seen_last seen_last TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(folded)
PARTITION BY toYYYYMM(seen_first)
ORDER BY (tenant, run)
TTL toDateTime(append_last) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0063_runs_folded_until.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.runs_folded_until (
    until DateTime64(3, 'UTC')
) ENGINE = MergeTree
ORDER BY until
TTL toDateTime(until) + INTERVAL 7 DAY DELETE
SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0064_failures.sql: makes something new
CREATE TABLE IF NOT EXISTS observability.failures (
    tenant LowCardinality(String),
    occurred DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    id UUID,
    flow LowCardinality(String),
    run String CODEC(ZSTD(1)),
    error String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    _append DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred)
ORDER BY (tenant, occurred, id)
TTL toDateTime(_append) + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- 0065_failures_from_events.sql: makes something new
CREATE MATERIALIZED VIEW IF NOT EXISTS observability.failures_from_events TO observability.failures AS
SELECT
    tenant,
    occurred,
    id,
    flow,
    run_key AS run,
    if(text_6 = '', '(no message)', text_6) AS error,
    message,
    _append
FROM (
    SELECT
        *,
        replaceRegexpAll(text_5, '[0-9]+(?:[.,:][0-9]+)*', '<n>') AS text_6,
        replaceRegexpAll(text_4, '/[\\w.\\-]*[0-9][\\w.\\-]*', '/<id>') AS text_5,
        replaceRegexpAll(
            text_3,
            '(?:\\b|_)(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|0[xX][0-9A-Fa-f]+|[0-9A-Fa-f]{8,}'
            || '|[A-Za-z0-9]*[0-9][A-Za-z]+[0-9][A-Za-z0-9]*)(?:\\b|_)',
            '<id>'
        ) AS text_4,
        replaceRegexpAll(text_2, '(^|[\\s(=:,\\[{])[ub]?\'[^\']*\'', '\\1<text>') AS text_3,
        replaceRegexpAll(text_1, '"[^"]*"|`[^`]*`', '<text>') AS text_2,
        replaceRegexpAll(
            trim(replaceRegexpAll(leftUTF8(message, 500), '\\s+', ' ')),
            '\\d{4}-\\d\\d-\\d\\d(?:[T ]\\d\\d:\\d\\d(?::\\d\\d(?:[.,]\\d+)?)?)?(?:Z|[+-]\\d\\d:?\\d\\d)?',
            '<time>'
        ) AS text_1
    FROM (
        SELECT
            tenant, occurred, id, flow, message, _append,
            if(events.run = '' AND kind = 'flow-run', resource['id'], events.run) AS run_key
        FROM observability.events AS events
        WHERE if(
            kind = 'log',
            level IN ('ERROR', 'CRITICAL', 'FATAL'),
            kind IN ('flow-run', 'task-run') AND state IN ('failed', 'crashed')
        )
    )
);

-- 0066_events_codecs.sql: adds to the table's definition, no row is rewritten (events: 0 rows)
ALTER TABLE observability.events
    MODIFY COLUMN id CODEC(ZSTD(1)),
    MODIFY COLUMN run CODEC(ZSTD(3)),
    MODIFY COLUMN payload CODEC(ZSTD(1));

-- 0070_runs_from_events_ties.sql: changes what is asked or folded from now on, no row is touched
ALTER TABLE observability.runs_from_events MODIFY QUERY
SELECT
    tenant,
    run_key AS run,
    max(flow_name) AS flow,
    argMaxStateIf(state_name, (occurred, step_id), is_state) AS state,
    min(scheduled) AS scheduled_for,
    min(occurred) AS seen_first,
    maxIf(occurred, is_state) AS seen_last,
    minOrNullIf(occurred, state_name = 'running') AS started,
    maxOrNullIf(occurred, state_name IN ('completed', 'failed', 'crashed', 'cancelled')) AS ended,
    uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events,
    maxIf(toUInt32OrZero(resource['prefect.run-count']), is_state) AS run_count,
    argMaxIfState(message, (occurred, id), toUInt8(state_name IN ('failed', 'crashed'))) AS failed_message,
    max(_append) AS append_last,
    max(deployment_thing['name']) AS deployment_name,
    max(deployment_thing['id']) AS deployment_id,
    max(work_pool_thing['name']) AS work_pool_name,
    max(work_pool_thing['id']) AS work_pool_id,
    maxMap(tags) AS tag_names,
    minOrNullIf(occurred, state_name IN ('late', 'pending')) AS queued,
    minOrNullIf(occurred, state_name = 'late') AS late_seen,
    max(if(team_thing['name'] = '', team_thing['id'], team_thing['name'])) AS team,
    groupUniqArrayArray(100000)(used_told) AS used
FROM (
    SELECT
        tenant, id, occurred, resource, message, _append,
        kind = 'flow-run' AND events.state != '' AS is_state,
        if(is_state, scheduled_for, NULL) AS scheduled,
        if(is_state, toString(flow), '') AS flow_name,
        if(is_state, toString(events.state), '') AS state_name,
        indexOf(
            [
                'scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling',
                'failed', 'crashed', 'cancelled', 'completed'
            ],
            state_name
        ) AS step,
        toUUID(concat('ffffffff-ffff-ffff-ffff-ffffffffff', hex(toUInt8(step)))) AS step_id,
        if(events.run = '', resource['id'], events.run) AS run_key,
        if(is_state, related, []) AS things,
        arrayFirst(each -> each['role'] = 'deployment', things) AS deployment_thing,
        arrayFirst(each -> each['role'] = 'work-pool', things) AS work_pool_thing,
        arrayFirst(each -> each['role'] = 'team', related) AS team_thing,
        arrayFilter(each -> each['role'] = 'tag', things) AS tag_things,
        mapFromArrays(
            arrayMap(each -> replaceRegexpOne(each['id'], '^(prefect\\.)?tag\\.', ''), tag_things),
            arrayMap(each -> each['name'], tag_things)
        ) AS tags,
        (kind = 'flow-run' OR events.run != '')
            AND multiSearchAny(payload, ['"cost"', '"bytes"', '"rows"', 'pu_utilization"']) AS names_usage,
        if(names_usage, payload, '') AS told,
        upper(JSONExtractString(told, 'cost', 'currency')) AS currency_told,
        round(toDecimal128OrNull(trim(BOTH '"' FROM JSONExtractRaw(told, 'cost', 'amount')), 18), 6) AS amount_told,
        match(currency_told, '^[A-Z]{1,16}$') AND amount_told >= 0 AND amount_told < 1000000000000 AS is_money,
        toUInt64OrNull(JSONExtractRaw(told, 'bytes')) AS bytes_told,
        toUInt64OrNull(JSONExtractRaw(told, 'rows')) AS rows_told,
        toFloat64OrNull(JSONExtractRaw(told, 'cpu_utilization')) AS cpu_told,
        toFloat64OrNull(JSONExtractRaw(told, 'gpu_utilization')) AS gpu_told,
        CAST(
            (
                id,
                if(is_money, currency_told, ''),
                if(is_money, accurateCastOrNull(amount_told, 'Decimal(18, 6)'), NULL),
                if(bytes_told <= 9007199254740992, bytes_told, NULL),
                if(rows_told <= 9007199254740992, rows_told, NULL),
                if(cpu_told BETWEEN 0 AND 1, cpu_told, NULL),
                if(gpu_told BETWEEN 0 AND 1, gpu_told, NULL)
            ),
            'Tuple(
                id UUID,
                currency String,
                cost Nullable(Decimal(18, 6)),
                bytes Nullable(UInt64),
                rows Nullable(UInt64),
                cpu_utilization Nullable(Float64),
                gpu_utilization Nullable(Float64)
            )'
        ) AS use,
        if(
            isNotNull(coalesce(use.cost, use.bytes, use.rows, use.cpu_utilization, use.gpu_utilization)),
            [use],
            []
        ) AS used_told
    FROM observability.events AS events
    WHERE is_state OR names_usage
)
GROUP BY tenant, run_key;

-- 0071_transitions_runbook.sql: adds to the table's definition, no row is rewritten (transitions: 0 rows)
ALTER TABLE observability.transitions ADD COLUMN IF NOT EXISTS runbook String CODEC(ZSTD(1));

-- 0074_events_history.sql: adds to the table's definition, no row is rewritten (events: 0 rows)
ALTER TABLE observability.events ADD COLUMN IF NOT EXISTS history Bool AFTER follows;
