CREATE TABLE flowgauge.backfills (`target` LowCardinality(String),
    `day` Date,
    `done` DateTime64(3, 'UTC'))
ENGINE = ReplacingMergeTree
ORDER BY (target, day)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.clocks (`log_id` LowCardinality(String),
    `topic` LowCardinality(String),
    `partition` UInt16,
    `end` UInt64 CODEC(Delta(8), ZSTD(1)),
    `clock_ms` Int64 CODEC(Delta(8), ZSTD(1)))
ENGINE = ReplacingMergeTree
ORDER BY (log_id, topic, partition, end)
TTL toDateTime(intDiv(clock_ms, 1000)) + toIntervalDay(400)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.deliveries (`delivery_id` String,
    `transition_id` String,
    `incident_id` String,
    `tenant` LowCardinality(String),
    `rule` LowCardinality(String),
    `channel` LowCardinality(String),
    `to_state` LowCardinality(String),
    `attempt` UInt32,
    `outcome` LowCardinality(String),
    `at_ms` Int64,
    `status` UInt16,
    `elapsed_ms` UInt32,
    `reason` LowCardinality(String),
    `next_attempt_ms` Int64,
    `_partition` UInt16,
    `_offset` UInt64,
    `_append` DateTime64(3, 'UTC'),
    `_log` LowCardinality(String), CONSTRAINT has_delivery CHECK delivery_id != '')
ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, incident_id, delivery_id, attempt, at_ms)
TTL toDateTime(_append) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.dlq (`tenant` LowCardinality(String),
    `reason` LowCardinality(String),
    `detail` String CODEC(ZSTD(1)),
    `origin` LowCardinality(String),
    `at_ms` Int64,
    `value` String CODEC(ZSTD(3)),
    `size` UInt64,
    `source_partition` Int32 DEFAULT -1,
    `source_offset` Int64 DEFAULT -1,
    `_partition` UInt16,
    `_offset` UInt64,
    `_append` DateTime64(3, 'UTC'),
    `_log` LowCardinality(String))
ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, at_ms)
TTL toDateTime(_append) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.erased_tenants (`erased_tenant` String,
    `before` DateTime64(3, 'UTC'))
ENGINE = ReplacingMergeTree(before)
ORDER BY erased_tenant
SETTINGS index_granularity = 8192;

CREATE TABLE flowgauge.events (`id` UUID CODEC(ZSTD(1)),
    `tenant` LowCardinality(String),
    `occurred` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `event` LowCardinality(String),
    `kind` LowCardinality(String) DEFAULT 'other',
    `flow` LowCardinality(String),
    `run` String CODEC(ZSTD(3)),
    `task` String CODEC(ZSTD(1)),
    `state` LowCardinality(String),
    `scheduled_for` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `resource` Map(String, String) CODEC(ZSTD(3)),
    `related` Array(Map(String, String)) CODEC(ZSTD(3)),
    `payload` String DEFAULT '{}' CODEC(ZSTD(1)),
    `follows` Nullable(UUID) CODEC(ZSTD(1)),
    `history` Bool,
    `extra` String DEFAULT '{}' CODEC(ZSTD(1)),
    `_log` LowCardinality(String),
    `_partition` UInt16 CODEC(ZSTD(1)),
    `_offset` UInt64 CODEC(Delta(8), ZSTD(1)),
    `_append` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `message` String MATERIALIZED if((kind = 'log') OR (state IN ('failed', 'crashed')), coalesce(nullIf(JSONExtractString(payload, 'message'), ''), nullIf(JSONExtractString(payload, 'validated_state', 'message'), ''), JSONExtractString(payload, 'exception', 'message')), '') CODEC(ZSTD(1)),
    `level` LowCardinality(String) MATERIALIZED if(kind = 'log', upper(JSONExtractString(payload, 'level')), ''),
    `logger` LowCardinality(String) MATERIALIZED if(kind = 'log', JSONExtractString(payload, 'logger'), ''), INDEX ix_run run TYPE bloom_filter(0.01) GRANULARITY 1, INDEX ix_append _append TYPE minmax GRANULARITY 1, INDEX ix_words lowerUTF8(replaceRegexpAll(message, '[\\x{80}-\\x{BF}\\x{D7}\\x{F7}\\x{2000}-\\x{2BFF}\\x{2E00}-\\x{2E7F}\\x{3000}-\\x{303F}\\x{FF00}-\\x{FF0F}\\x{FF1A}-\\x{FF20}\\x{FF3B}-\\x{FF40}\\x{FF5B}-\\x{FF65}\\x{FFFD}\\x{1F000}-\\x{1FAFF}]', ' ')) TYPE text(tokenizer = splitByNonAlpha) GRANULARITY 100000000, INDEX ix_resources arrayMap(each -> (each['id']), arrayPushFront(related, resource)) TYPE bloom_filter(0.01) GRANULARITY 1, CONSTRAINT has_tenant CHECK tenant != '', CONSTRAINT has_event CHECK event != '', CONSTRAINT has_resource CHECK (resource['id']) != '', CONSTRAINT is_near_append CHECK (occurred >= (_append - toIntervalDay(400))) AND (occurred <= (_append + toIntervalSecond(86401))))
ENGINE = MergeTree
PARTITION BY toDate(occurred)
ORDER BY (tenant, kind, toStartOfHour(occurred), run, occurred)
TTL toDateTime(_append) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.failures (`tenant` LowCardinality(String),
    `occurred` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `id` UUID,
    `flow` LowCardinality(String),
    `run` String CODEC(ZSTD(1)),
    `error` String CODEC(ZSTD(1)),
    `message` String CODEC(ZSTD(1)),
    `_append` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)))
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred)
ORDER BY (tenant, occurred, id)
TTL toDateTime(_append) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE MATERIALIZED VIEW flowgauge.failures_from_events TO flowgauge.failures (`tenant` LowCardinality(String),
    `occurred` DateTime64(6, 'UTC'),
    `id` UUID,
    `flow` LowCardinality(String),
    `run` String,
    `error` String,
    `message` String,
    `_append` DateTime64(3, 'UTC'))
AS SELECT tenant, occurred, id, flow, run_key AS run, if(text_6 = '', '(no message)', text_6) AS error, message, _append
FROM (SELECT *, replaceRegexpAll(text_5, '[0-9]+(?:[.,:][0-9]+)*', '<n>') AS text_6, replaceRegexpAll(text_4, '/[\\w.\\-]*[0-9][\\w.\\-]*', '/<id>') AS text_5, replaceRegexpAll(text_3, concat('(?:\\b|_)(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|0[xX][0-9A-Fa-f]+|[0-9A-Fa-f]{8,}', '|[A-Za-z0-9]*[0-9][A-Za-z]+[0-9][A-Za-z0-9]*)(?:\\b|_)'), '<id>') AS text_4, replaceRegexpAll(text_2, '(^|[\\s(=:,\\[{])[ub]?\'[^\']*\'', '\\1<text>') AS text_3, replaceRegexpAll(text_1, '"[^"]*"|`[^`]*`', '<text>') AS text_2, replaceRegexpAll(trimBoth(replaceRegexpAll(leftUTF8(message, 500), '\\s+', ' ')), '\\d{4}-\\d\\d-\\d\\d(?:[T ]\\d\\d:\\d\\d(?::\\d\\d(?:[.,]\\d+)?)?)?(?:Z|[+-]\\d\\d:?\\d\\d)?', '<time>') AS text_1
FROM (SELECT tenant, occurred, id, flow, message, _append, if((events.run = '') AND (kind = 'flow-run'), resource['id'], events.run) AS run_key
FROM flowgauge.events AS events WHERE if(kind = 'log', (level IN ('ERROR', 'CRITICAL', 'FATAL')), (kind IN ('flow-run', 'task-run')) AND (state IN ('failed', 'crashed')))));

CREATE MATERIALIZED VIEW flowgauge.run_ends_from_events TO flowgauge.run_ends_hourly (`tenant` LowCardinality(String),
    `flow` LowCardinality(String),
    `hour` DateTime('UTC'),
    `state` LowCardinality(String),
    `runs` AggregateFunction(uniqExact, String),
    `append_last` DateTime64(3, 'UTC'))
AS SELECT tenant, flow, toStartOfHour(occurred) AS hour, state, uniqExactState(if(events.run = '', resource['id'], events.run)) AS runs, max(_append) AS append_last
FROM flowgauge.events AS events WHERE (kind = 'flow-run') AND (state IN ('completed', 'failed', 'crashed', 'cancelled')) GROUP BY tenant, flow, hour, state;

CREATE TABLE flowgauge.run_ends_hourly (`tenant` LowCardinality(String),
    `flow` LowCardinality(String),
    `hour` DateTime('UTC'),
    `state` LowCardinality(String),
    `runs` AggregateFunction(uniqExact, String),
    `append_last` SimpleAggregateFunction(max, DateTime64(3, 'UTC')))
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, flow, hour, state)
TTL toDateTime(append_last) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.runs (`tenant` LowCardinality(String),
    `run` String,
    `flow` SimpleAggregateFunction(max, String),
    `state` AggregateFunction(argMax, String, Tuple(DateTime64(6, 'UTC'), UUID)),
    `scheduled_for` SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    `seen_first` SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    `seen_last` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `started` SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    `ended` SimpleAggregateFunction(max, Nullable(DateTime64(6, 'UTC'))),
    `running_events` AggregateFunction(uniqExactIf, UUID, UInt8),
    `run_count` SimpleAggregateFunction(max, UInt32),
    `failed_message` AggregateFunction(argMaxIf, String, Tuple(DateTime64(6, 'UTC'), UUID), UInt8),
    `append_last` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `deployment` SimpleAggregateFunction(max, String),
    `work_pool` SimpleAggregateFunction(max, String),
    `tags` SimpleAggregateFunction(groupUniqArrayArray, Array(String)),
    `queued` SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    `late_seen` SimpleAggregateFunction(min, Nullable(DateTime64(6, 'UTC'))),
    `team` SimpleAggregateFunction(max, String),
    `used` SimpleAggregateFunction(groupUniqArrayArray(100000), Array(Tuple(id UUID, currency String, cost Nullable(Decimal(18, 6)), bytes Nullable(UInt64), rows Nullable(UInt64), cpu_utilization Nullable(Float64), gpu_utilization Nullable(Float64)))),
    `deployment_name` SimpleAggregateFunction(max, String),
    `deployment_id` SimpleAggregateFunction(max, String),
    `work_pool_name` SimpleAggregateFunction(max, String),
    `work_pool_id` SimpleAggregateFunction(max, String),
    `tag_names` SimpleAggregateFunction(maxMap, Map(String, String)),
    `inserted` SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3, 'UTC'), INDEX ix_inserted inserted TYPE minmax GRANULARITY 1)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(seen_first)
ORDER BY (tenant, run)
TTL toDateTime(append_last) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE VIEW flowgauge.runs_final (`tenant` LowCardinality(String),
    `run` String,
    `flow` SimpleAggregateFunction(max, String),
    `state` String,
    `scheduled_for` Nullable(DateTime64(6, 'UTC')),
    `seen_first` SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    `seen_last` SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    `started` Nullable(DateTime64(6, 'UTC')),
    `ended` Nullable(DateTime64(6, 'UTC')),
    `attempts` UInt64,
    `failed_message` String,
    `seconds` Nullable(Float64),
    `deployment` SimpleAggregateFunction(max, String),
    `work_pool` SimpleAggregateFunction(max, String),
    `tags` Array(String),
    `queued` Nullable(DateTime64(6, 'UTC')),
    `due` Nullable(DateTime64(6, 'UTC')),
    `expected` Nullable(DateTime64(6, 'UTC')),
    `late_seconds` Nullable(Float64),
    `wait_seconds` Nullable(Float64),
    `append_last` SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    `told_team` SimpleAggregateFunction(max, String),
    `used` Array(Tuple(id UUID, currency String, cost Nullable(Decimal(18, 6)), bytes Nullable(UInt64), rows Nullable(UInt64), cpu_utilization Nullable(Float64), gpu_utilization Nullable(Float64))),
    `told_costs` Array(Tuple(String, Nullable(Decimal(38, 6)))),
    `told_bytes` Nullable(UInt128),
    `told_rows` Nullable(UInt128),
    `cpu_sum` Nullable(Float64),
    `cpu_count` UInt64,
    `gpu_sum` Nullable(Float64),
    `gpu_count` UInt64) AS WITH maxMap(runs.tag_names) AS tag_names SELECT tenant, run, max(runs.flow) AS flow, argMaxMerge(runs.state) AS state, min(runs.scheduled_for) AS scheduled_for, min(runs.seen_first) AS seen_first, max(runs.seen_last) AS seen_last, min(runs.started) AS started, if((state IN ('completed', 'failed', 'crashed', 'cancelled')), max(runs.ended), NULL) AS ended, greatest(uniqExactIfMerge(runs.running_events), max(runs.run_count)) AS attempts, argMaxIfMerge(runs.failed_message) AS failed_message, dateDiff('microsecond', started, ended) / 1000000 AS seconds, multiIf(max(runs.deployment_name) != '', max(runs.deployment_name), max(runs.deployment) != '', max(runs.deployment), max(runs.deployment_id)) AS deployment, multiIf(max(runs.work_pool_name) != '', max(runs.work_pool_name), max(runs.work_pool) != '', max(runs.work_pool), max(runs.work_pool_id)) AS work_pool, arraySort(arrayDistinct(arrayConcat(arrayMap((id, name) -> if(name = '', id, name), mapKeys(tag_names), mapValues(tag_names)), arrayFilter(tag -> (NOT mapContains(tag_names, tag)), groupUniqArrayArray(runs.tags))))) AS tags, min(runs.queued) AS queued, coalesce(scheduled_for, if(started < min(runs.late_seen), NULL, min(runs.late_seen)) - toIntervalSecond(15)) AS due, coalesce(due, if(has(tags, 'auto-scheduled'), if(started < queued, started, coalesce(queued, started)), NULL)) AS expected, dateDiff('microsecond', due, started) / 1000000 AS late_seconds, if(queued <= started, greatest(0, dateDiff('microsecond', greatest(queued, coalesce(due, queued)), started)) / 1000000, NULL) AS wait_seconds, max(runs.append_last) AS append_last, max(runs.team) AS told_team, arraySort(groupUniqArrayArray(100000)(runs.used)) AS used, arraySort(arrayMap(of -> (of, CAST(arrayReduce('sum', arrayMap(use -> use.cost, arrayFilter(use -> (use.currency = of), used))), 'Nullable(Decimal(38, 6))')), arrayFilter(of -> (of != ''), arrayDistinct(used.currency)))) AS told_costs, arrayReduce('sumOrNull', arrayMap(use -> toUInt128(use.bytes), used)) AS told_bytes, arrayReduce('sumOrNull', arrayMap(use -> toUInt128(use.rows), used)) AS told_rows, arrayReduce('sumOrNull', used.cpu_utilization) AS cpu_sum, arrayReduce('count', used.cpu_utilization) AS cpu_count, arrayReduce('sumOrNull', used.gpu_utilization) AS gpu_sum, arrayReduce('count', used.gpu_utilization) AS gpu_count
FROM flowgauge.runs AS runs GROUP BY tenant, run HAVING state != '';

CREATE TABLE flowgauge.runs_folded (`tenant` LowCardinality(String),
    `run` String CODEC(ZSTD(1)),
    `flow` LowCardinality(String),
    `deployment` LowCardinality(String),
    `work_pool` LowCardinality(String),
    `tags` Array(LowCardinality(String)),
    `state` LowCardinality(String),
    `scheduled_for` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `seen_first` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `seen_last` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `started` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `ended` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `due` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `expected` Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    `seconds` Nullable(Float64) CODEC(ZSTD(1)),
    `late_seconds` Nullable(Float64) CODEC(ZSTD(1)),
    `wait_seconds` Nullable(Float64) CODEC(ZSTD(1)),
    `attempts` UInt64 CODEC(ZSTD(1)),
    `failed_message` String CODEC(ZSTD(3)),
    `told_team` LowCardinality(String),
    `told_costs` Array(Tuple(currency String, cost Nullable(Decimal(38, 6)))) CODEC(ZSTD(1)),
    `told_bytes` Nullable(UInt128) CODEC(ZSTD(1)),
    `told_rows` Nullable(UInt128) CODEC(ZSTD(1)),
    `cpu_sum` Nullable(Float64) CODEC(ZSTD(1)),
    `cpu_count` UInt64 CODEC(ZSTD(1)),
    `gpu_sum` Nullable(Float64) CODEC(ZSTD(1)),
    `gpu_count` UInt64 CODEC(ZSTD(1)),
    `append_last` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    `folded` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)), INDEX ix_seen_first seen_first TYPE minmax GRANULARITY 1, INDEX ix_seen_last seen_last TYPE minmax GRANULARITY 1)
ENGINE = ReplacingMergeTree(folded)
PARTITION BY toYYYYMM(seen_first)
ORDER BY (tenant, run)
TTL toDateTime(append_last) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE TABLE flowgauge.runs_folded_until (`until` DateTime64(3, 'UTC'))
ENGINE = MergeTree
ORDER BY until
TTL toDateTime(until) + toIntervalDay(7)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192;

CREATE MATERIALIZED VIEW flowgauge.runs_from_events TO flowgauge.runs (`tenant` LowCardinality(String),
    `run` String,
    `flow` String,
    `state` AggregateFunction(argMax, String, Tuple(DateTime64(6, 'UTC'), UUID)),
    `scheduled_for` Nullable(DateTime64(6, 'UTC')),
    `seen_first` DateTime64(6, 'UTC'),
    `seen_last` DateTime64(6, 'UTC'),
    `started` Nullable(DateTime64(6, 'UTC')),
    `ended` Nullable(DateTime64(6, 'UTC')),
    `running_events` AggregateFunction(uniqExactIf, UUID, UInt8),
    `run_count` UInt32,
    `failed_message` AggregateFunction(argMaxIf, String, Tuple(DateTime64(6, 'UTC'), UUID), UInt8),
    `append_last` DateTime64(3, 'UTC'),
    `deployment_name` String,
    `deployment_id` String,
    `work_pool_name` String,
    `work_pool_id` String,
    `tag_names` Map(String, String),
    `queued` Nullable(DateTime64(6, 'UTC')),
    `late_seen` Nullable(DateTime64(6, 'UTC')),
    `team` String,
    `used` Array(Tuple(id UUID, currency String, cost Nullable(Decimal(18, 6)), bytes Nullable(UInt64), rows Nullable(UInt64), cpu_utilization Nullable(Float64), gpu_utilization Nullable(Float64))))
AS SELECT tenant, run_key AS run, max(flow_name) AS flow, argMaxStateIf(state_name, (occurred, step_id), is_state) AS state, min(scheduled) AS scheduled_for, min(occurred) AS seen_first, maxIf(occurred, is_state) AS seen_last, minOrNullIf(occurred, state_name = 'running') AS started, maxOrNullIf(occurred, (state_name IN ('completed', 'failed', 'crashed', 'cancelled'))) AS ended, uniqExactIfState(id, toUInt8(state_name = 'running')) AS running_events, maxIf(toUInt32OrZero(resource['prefect.run-count']), is_state) AS run_count, argMaxIfState(message, (occurred, id), toUInt8((state_name IN ('failed', 'crashed')))) AS failed_message, max(_append) AS append_last, max(deployment_thing['name']) AS deployment_name, max(deployment_thing['id']) AS deployment_id, max(work_pool_thing['name']) AS work_pool_name, max(work_pool_thing['id']) AS work_pool_id, maxMap(tags) AS tag_names, minOrNullIf(occurred, (state_name IN ('late', 'pending'))) AS queued, minOrNullIf(occurred, state_name = 'late') AS late_seen, max(if((team_thing['name']) = '', team_thing['id'], team_thing['name'])) AS team, groupUniqArrayArray(100000)(used_told) AS used
FROM (SELECT tenant, id, occurred, resource, message, _append, (kind = 'flow-run') AND (events.state != '') AS is_state, if(is_state, scheduled_for, NULL) AS scheduled, if(is_state, toString(flow), '') AS flow_name, if(is_state, toString(events.state), '') AS state_name, indexOf(['scheduled', 'late', 'pending', 'running', 'retrying', 'paused', 'cancelling', 'failed', 'crashed', 'cancelled', 'completed'], state_name) AS step, toUUID(concat('ffffffff-ffff-ffff-ffff-ffffffffff', hex(toUInt8(step)))) AS step_id, if(events.run = '', resource['id'], events.run) AS run_key, if(is_state, related, []) AS things, arrayFirst(each -> ((each['role']) = 'deployment'), things) AS deployment_thing, arrayFirst(each -> ((each['role']) = 'work-pool'), things) AS work_pool_thing, arrayFirst(each -> ((each['role']) = 'team'), related) AS team_thing, arrayFilter(each -> ((each['role']) = 'tag'), things) AS tag_things, mapFromArrays(arrayMap(each -> replaceRegexpOne(each['id'], '^(prefect\\.)?tag\\.', ''), tag_things), arrayMap(each -> (each['name']), tag_things)) AS tags, ((kind = 'flow-run') OR (events.run != '')) AND multiSearchAny(payload, ['"cost"', '"bytes"', '"rows"', 'pu_utilization"']) AS names_usage, if(names_usage, payload, '') AS told, upper(JSONExtractString(told, 'cost', 'currency')) AS currency_told, round(toDecimal128OrNull(trimBoth(JSONExtractRaw(told, 'cost', 'amount'), '"'), 18), 6) AS amount_told, match(currency_told, '^[A-Z]{1,16}$') AND (amount_told >= 0) AND (amount_told < 1000000000000) AS is_money, toUInt64OrNull(JSONExtractRaw(told, 'bytes')) AS bytes_told, toUInt64OrNull(JSONExtractRaw(told, 'rows')) AS rows_told, toFloat64OrNull(JSONExtractRaw(told, 'cpu_utilization')) AS cpu_told, toFloat64OrNull(JSONExtractRaw(told, 'gpu_utilization')) AS gpu_told, CAST((id, if(is_money, currency_told, ''), if(is_money, accurateCastOrNull(amount_told, 'Decimal(18, 6)'), NULL), if(bytes_told <= 9007199254740992, bytes_told, NULL), if(rows_told <= 9007199254740992, rows_told, NULL), if((cpu_told >= 0) AND (cpu_told <= 1), cpu_told, NULL), if((gpu_told >= 0) AND (gpu_told <= 1), gpu_told, NULL)), 'Tuple(\n                id UUID,\n                currency String,\n                cost Nullable(Decimal(18, 6)),\n                bytes Nullable(UInt64),\n                rows Nullable(UInt64),\n                cpu_utilization Nullable(Float64),\n                gpu_utilization Nullable(Float64)\n            )') AS use, if(isNotNull(coalesce(use.cost, use.bytes, use.rows, use.cpu_utilization, use.gpu_utilization)), [use], []) AS used_told
FROM flowgauge.events AS events WHERE is_state OR names_usage) GROUP BY tenant, run_key;

CREATE TABLE flowgauge.schema_versions (`version` UInt32,
    `name` String,
    `digest` String,
    `applied` DateTime64(3, 'UTC'))
ENGINE = ReplacingMergeTree
ORDER BY version
SETTINGS index_granularity = 8192;

CREATE TABLE flowgauge.transitions (`transition_id` String,
    `incident_id` String,
    `seq` UInt32,
    `tenant` LowCardinality(String),
    `rule` LowCardinality(String),
    `rule_kind` LowCardinality(String),
    `rules_version` UInt64,
    `key` Map(LowCardinality(String), String),
    `from_state` LowCardinality(String),
    `to_state` LowCardinality(String),
    `at_ms` Int64,
    `opened_at_ms` Int64,
    `reason` String,
    `value` Nullable(Float64),
    `threshold` Nullable(Float64),
    `samples` UInt64,
    `late_samples` UInt64,
    `window_ms` UInt64,
    `examples` Array(Tuple(occurred_us Int64, event_id String, run String, flow String)),
    `severity` LowCardinality(String),
    `labels` Map(LowCardinality(String), String),
    `summary` String CODEC(ZSTD(1)),
    `notify` Array(LowCardinality(String)),
    `_partition` UInt16,
    `_offset` UInt64,
    `_append` DateTime64(3, 'UTC'),
    `_log` LowCardinality(String),
    `runbook` String CODEC(ZSTD(1)), INDEX ix_incident incident_id TYPE bloom_filter(0.01) GRANULARITY 1, CONSTRAINT has_incident CHECK (incident_id != '') AND (transition_id != ''))
ENGINE = MergeTree
PARTITION BY toYYYYMM(_append)
ORDER BY (tenant, opened_at_ms, incident_id, seq)
TTL toDateTime(_append) + toIntervalDay(400)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000, index_granularity = 8192;

