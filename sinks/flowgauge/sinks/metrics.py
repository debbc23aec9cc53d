"""Every metric of the sinks: `flowgauge_sinks_<what>_<unit>`. Labels are tables, channels and reasons, never ids."""

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("flowgauge_sinks_rows_total", "Rows that ClickHouse has acknowledged.", ["table"])
ROW_BYTES = Counter("flowgauge_sinks_row_bytes_total", "Bytes of the rows that ClickHouse has acknowledged.", ["table"])
DEAD_LETTERS = Counter(
    "flowgauge_sinks_dead_letters_total", "Records sent to the dlq instead of a table.", ["table", "reason"]
)
QUARANTINED = Gauge(
    "flowgauge_sinks_quarantined_partitions",
    "Partitions where the sink stopped, because too many events in them would go to the dlq.",
    ["table"],
)
REPLAYS = Counter(
    "flowgauge_sinks_replays_total", "Pending inserts that a start found and repeated under their token.", ["table"]
)
CLAIMED = Counter(
    "flowgauge_sinks_claimed_rows_total",
    "Rows that ClickHouse said it had after a crash amid their insert, and had not; they were inserted again.",
    ["table"],
)
FORGOTTEN = Counter(
    "flowgauge_sinks_forgotten_rows_total",
    "Rows that ClickHouse had although the group's place lay before them: the log forgot commits.",
    ["table"],
)
ERASED = Counter(
    "flowgauge_sinks_erased_rows_total",
    "Rows that were read again from the log and left out, because their tenant was erased.",
    ["table"],
)
RETRIES = Counter(
    "flowgauge_sinks_retries_total",
    "Inserts tried again; kind=known passes by itself, person waits for somebody, unknown is in no table of causes.",
    ["table", "kind"],
)
FOLDED_RUNS = Counter("flowgauge_sinks_folded_runs_total", "Runs folded into one row, each as often as it was folded.")
FULL_RUNS = Counter(
    "flowgauge_sinks_full_runs_total",
    "Runs that told what they used more than 100,000 times, each as often as it was folded: some of that is left out.",
)
FOLD_FAILURES = Counter(
    "flowgauge_sinks_fold_failures_total", "Times that runs could not be folded; questions are slower until they are."
)
EXPIRE_FAILURES = Counter(
    "flowgauge_sinks_expire_failures_total",
    "Times that rows older than their tenant's retention_days could not be taken away; tried again hours later.",
)
BEHIND = Gauge("flowgauge_sinks_behind_records", "Records in the log that ClickHouse does not have yet.", ["table"])
FLUSH_SECONDS = Histogram(
    "flowgauge_sinks_flush_seconds",
    "From the write-ahead of an intent until its rows are acknowledged.",
    ["table"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120),
)
DELIVERIES = Counter(
    "flowgauge_sinks_deliveries_total",
    "Steps in the life of deliveries: started, delivered, failed, dead, superseded, backfilled, silenced.",
    ["outcome"],
)
MESSAGES = Counter(
    "flowgauge_sinks_messages_total", "Messages that went out to channels; one tells of many incidents in a storm."
)
ATTEMPT_SECONDS = Histogram(
    "flowgauge_sinks_attempt_seconds",
    "From the begin of an attempt at a channel or an action to its answer.",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
OPEN_CIRCUITS = Gauge(
    "flowgauge_sinks_left_alone_endpoints", "Endpoints that are left alone, because they only failed."
)
KEPT_LETTERS = Gauge("flowgauge_sinks_given_up_messages", "Deliveries that were given up and can be sent again.")
DROPPED_LETTERS = Gauge(
    "flowgauge_sinks_lost_messages", "Deliveries that were given up and, with too many kept, cannot be sent again."
)
REFUSED_ACTIONS = Counter(
    "flowgauge_sinks_refused_actions_total", "Actions that were not run: stopped, limited or in a circle.", ["reason"]
)
