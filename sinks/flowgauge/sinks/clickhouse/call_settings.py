"""Call settings: what each insert and question says, so that neither the server's defaults nor a profile decide. Pure.

Which defaults changed in which version, ClickHouse tells in `system.settings_changes`.
"""

from collections.abc import Mapping

from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT, guard

ROWS_MAX = 10_000  # what one question may return
ANSWER_BYTES_MAX = 128 * 1_048_576  # the same: a hundred lines of the longest logs, and a second of encoding
QUERY_S_MAX = 10  # a question that takes longer is asked of too much
INSERT_S_MAX = 120  # far above a batch's half second, far below the life of the deduplication window
MEMORY_MAX = 1_500_000_000  # bytes of one question; the engine itself takes about 300 MB

# Pinned, because the engine's defaults differ between versions and follow its `compatibility` setting.
INSERT_SETTINGS: Mapping[str, object] = {
    "async_insert": 0,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_partitions_per_insert_block": 0,  # a late backfill touches hundreds of days in one insert
    "max_insert_block_size": 1_048_449,  # with the next two: one insert is one block
    "min_insert_block_size_rows": 1_048_449,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    # Blocks end where we end them: not by bytes, by time, or anew for each view.
    "max_insert_block_size_bytes": 0,
    "input_format_max_block_wait_ms": 0,
    "min_insert_block_size_rows_for_materialized_views": 0,
    "min_insert_block_size_bytes_for_materialized_views": 0,
    "parallel_view_processing": 0,
    # All or nothing: a cut connection, an unreadable row and a view that fails are errors.
    "input_format_connection_handling": 0,
    "input_format_allow_errors_num": 0,
    "input_format_allow_errors_ratio": 0,
    "materialized_views_ignore_errors": 0,
    "max_execution_time": INSERT_S_MAX,
    "date_time_input_format": "best_effort",
    "input_format_json_read_objects_as_strings": 1,  # payload and extra
    "input_format_json_named_tuples_as_objects": 0,  # a transition's examples are arrays
    "input_format_null_as_default": 1,
    "input_format_skip_unknown_fields": 1,
    "input_format_defaults_for_omitted_fields": 1,
}
# What versions since VERSION_MIN brought, by the version that knows it.
NEWER_INSERT_SETTINGS: Mapping[tuple[int, ...], Mapping[str, object]] = {
    (26, 4): {
        "use_strict_insert_block_limits": 0,
        "input_format_column_name_matching_mode": "match_case",  # 26.5 takes "Tenant" for tenant otherwise
    },
}
QUERY_SETTINGS: Mapping[str, object] = {
    "max_execution_time": QUERY_S_MAX,
    "max_memory_usage": MEMORY_MAX,
    "max_result_rows": ROWS_MAX,
    "max_result_bytes": ANSWER_BYTES_MAX,
    "result_overflow_mode": "throw",
    # Compiled code pays off in questions of seconds; ours would wait a tenth of one for it at the fourth time.
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
    "enable_shared_storage_snapshot_in_query": 1,  # one state of a table, however often a question names it
}
# After a crash, over rows that were just written: they may take long, and belong to no question of people.
LOOK_SETTINGS: Mapping[str, object] = {
    **guard(EVERY_TENANT),
    "max_execution_time": INSERT_S_MAX,
    "max_memory_usage": MEMORY_MAX,
}
FOLD_SETTINGS: Mapping[str, object] = {
    **LOOK_SETTINGS,
    "deduplicate_insert": "disable",  # what is folded twice counts once
    "deduplicate_insert_select": "disable",
    "max_partitions_per_insert_block": 0,
    "max_bytes_before_external_group_by": MEMORY_MAX // 4,  # a day of a million runs goes to disk rather
}


def insert_settings(version: tuple[int, ...]) -> dict[str, object]:
    """Return what an insert says to a server of that version, but for its token."""
    newer = [settings for since, settings in NEWER_INSERT_SETTINGS.items() if version >= since]
    return {**INSERT_SETTINGS, **{name: value for settings in newer for name, value in settings.items()}}
