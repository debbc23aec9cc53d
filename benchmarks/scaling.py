"""What a rate of events takes, from unit costs that were measured: `python -m benchmarks.scaling [--write]`.

    unit costs (each with where it was measured) ──► plan(events a second) ──► the tables of docs/scaling.md

Pure but for its command. `--write` puts the tables into the document; a test compares the two.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.document import print_or_write
from benchmarks.markdown import filled, table

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
RATES = (10_000, 100_000, 1_000_000)
REPLICATION = 3
RETENTION_DAYS = 7
BUSY_SHARE = 0.5  # of a core that a process may use in the steady state: the rest is for catching up
PROCESSES_MIN = 2  # of a role: one may die
PARTITIONS_PER_PROCESS = 3  # of the role with most processes, so that it can grow and is balanced
EVENTS_PARTITIONS_MIN = 12
SAMPLES_PARTITIONS = (4, 8, 16)  # what we would choose from; the simulation has 16
RESTORE_S_MAX = 10.0  # from a kill to caught up, as promised
CHECKPOINT_S = 300  # what a restore evaluates again
STEP_MESSAGES = 64  # that a detector takes at once at most
GATHERED_PER_SECOND = 4  # batches of a source, if matchers gathered for a quarter of a second
DAY_S = 86_400
SINK_READS, MATCHER_READS = 1, 1


class Unit(NamedTuple):
    """A measured unit cost: what it is, its value, its unit, and which benchmark says so."""

    what: str
    value: float
    unit: str
    source: str


UNITS = {
    "gateway": Unit("gateway, NDJSON batches, local log", 21.6, "µs an event", "`gateway`"),
    "local_append": Unit("of this the local log's append", 5.4, "µs an event", "`log`"),
    "kafka_append": Unit("the same append to Kafka", 19.2, "µs an event", "`kafka-costs`, append"),
    "kafka_read": Unit("reading from Kafka", 4.1, "µs an event", "`kafka-costs`, read"),
    "broker_append": Unit("broker: taking events", 3.5, "µs an event", "`kafka-costs`"),
    "broker_read": Unit("broker: giving events", 1.0, "µs an event", "`kafka-costs`"),
    "matcher": Unit("matching, 50 rules", 2.9, "µs an event", "`matcher`"),
    "samples": Unit("samples, 50 rules", 0.085, "an event", "`matcher`"),
    "detector": Unit("detector: a sample", 9.9, "µs a sample", "`detector`"),
    "sample_bytes": Unit("a sample in its message", 150, "bytes", "`waiting`"),
    "message_append": Unit("matcher: sending a message", 55, "µs a message", "`kafka-costs`"),
    "message_step": Unit("detector: reading and committing a message", 77, "µs a message", "`kafka-costs`"),
    "commit": Unit("a commit of the detector", 35, "ms", "`kafka-costs`"),
    "batches": Unit("batches that a matcher makes of one source", 42, "a second", "`kafka-costs`"),
    "sink": Unit("sink: check, rows", 12.3, "µs a row", "`sink`"),
    "clickhouse": Unit("ClickHouse: insert, views, merges", 12.8, "µs a row", "`sink`"),
    "row_bytes": Unit("a row on ClickHouse's disk, rollups included", 96, "bytes", "`sink`"),
    "event_bytes": Unit("an event as sent", 743, "bytes", "`packing`, generated"),
    "packed": Unit("lz4 makes it smaller", 5.8, "times", "`packing`, generated"),
    "recorded_bytes": Unit("a recorded Prefect event", 1133, "bytes", "`packing`, recorded"),
    "recorded_packed": Unit("lz4 makes that smaller", 8.5, "times", "`packing`, recorded"),
    "held": Unit("a sample that waits, in memory", 867, "bytes", "`waiting`"),
    "stored": Unit("a sample that waits, in the state topic", 151, "bytes", "`waiting`"),
    "key": Unit("a key's state record", 1724, "bytes", "`waiting`"),
    "restore": Unit("restore, a sample of the last five minutes", 13.2, "µs a sample", "`waiting`"),
    "hottest": Unit("samples of the hottest of 16 detectors", 3.4, "times the mean", "simulation"),
    "pulse": Unit("a pulse on the wire", 120, "bytes", "its JSON and record header"),
}


SIMULATED_PARTITIONS = 16


def cost(name: str) -> float:
    """Return the value of a unit cost."""
    return UNITS[name].value


def hot_share() -> float:
    """Return the share of all samples that stay together however many partitions there are."""
    spread = 1 / SIMULATED_PARTITIONS
    return (cost("hottest") * spread - spread) / (1 - spread)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `rate` events a second take. Cores are CPU seconds a second; shares are of the hottest detector."""

    rate: int

    # ── cores by role ──

    @property
    def gateway_cores(self) -> float:
        """HTTP, canonical records, append."""
        return self.rate * (cost("gateway") - cost("local_append") + cost("kafka_append")) / 1e6

    @property
    def matcher_cores(self) -> float:
        """Read, match, and send a message a batch to each samples partition."""
        return self.rate * (cost("kafka_read") + cost("matcher")) / 1e6 + self.messages * cost("message_append") / 1e6

    @property
    def detector_cores(self) -> float:
        """All detectors together."""
        return self.samples * cost("detector") / 1e6 + self.messages * cost("message_step") / 1e6

    @property
    def sink_cores(self) -> float:
        """The sink's own processes; the engine is ClickHouse's."""
        return self.rate * (cost("kafka_read") + cost("sink")) / 1e6

    @property
    def clickhouse_cores(self) -> float:
        """Inserts, rollups and merges; questions come on top."""
        return self.rate * cost("clickhouse") / 1e6

    @property
    def broker_cores(self) -> float:
        """All brokers: each replica appends, the leader serves matcher and sink."""
        reads = SINK_READS + MATCHER_READS
        return self.rate * (cost("broker_append") * REPLICATION + cost("broker_read") * reads) / 1e6

    # ── partitions ──

    @property
    def events_partitions(self) -> int:
        """Some for each process of the sink, which needs most of them; a multiple of four."""
        wanted = PARTITIONS_PER_PROCESS * processes(self.sink_cores)
        return max(EVENTS_PARTITIONS_MIN, -(-wanted // 4) * 4)

    @property
    def samples_partitions(self) -> int:
        """The fewest with which the hottest detector restores in time, else the most we would choose."""
        return next((count for count in SAMPLES_PARTITIONS if self.restore_s(count) <= RESTORE_S_MAX), 16)

    # ── the samples' way ──

    @property
    def samples(self) -> float:
        """Samples a second."""
        return self.rate * cost("samples")

    def hottest_samples(self, samples_partitions: int) -> float:
        """Return what the hottest detector gets a second: one key is not split, the rest is spread."""
        return self.samples * (hot_share() + (1 - hot_share()) / samples_partitions)

    @property
    def messages_per_samples_partition(self) -> float:
        """Each batch of each source is a message to every samples partition."""
        return self.events_partitions * cost("batches")

    @property
    def messages(self) -> float:
        """Messages a second over all samples partitions."""
        return self.messages_per_samples_partition * self.samples_partitions

    @property
    def detector_processes(self) -> int:
        """By cores and by messages: a process takes STEP_MESSAGES a commit, of all its partitions together."""
        by_messages = math.ceil(self.messages / step_messages_max() / BUSY_SHARE)
        return min(self.samples_partitions, max(processes(self.detector_cores), by_messages))

    # ── memory and restore of the hottest detector ──

    def restore_s(self, samples_partitions: int) -> float:
        """Seconds to evaluate again what was not written since the last checkpoint."""
        return self.hottest_samples(samples_partitions) * CHECKPOINT_S * cost("restore") / 1e6

    @property
    def waiting_bytes_per_minute(self) -> float:
        """What a minute of lag of one events partition adds to the hottest detector's memory."""
        return self.hottest_samples(self.samples_partitions) * 60 * cost("held")

    @property
    def state_bytes(self) -> float:
        """Live bytes of the state topic, keys aside: the samples of the last five minutes."""
        return self.samples * CHECKPOINT_S * cost("stored")

    # ── network and disk ──

    @property
    def packed_bytes(self) -> float:
        """Bytes a second of events as producers send them."""
        return self.rate * cost("event_bytes") / cost("packed")

    @property
    def brokers_in_bytes(self) -> float:
        """Bytes a second that all brokers take: from producers, and from each other."""
        return self.packed_bytes * REPLICATION + self.samples * cost("sample_bytes") * REPLICATION

    @property
    def brokers_out_bytes(self) -> float:
        """Bytes a second that all brokers give: to followers, matcher, sink and detector."""
        events = self.packed_bytes * (REPLICATION - 1 + SINK_READS + MATCHER_READS)
        return events + self.samples * cost("sample_bytes") * REPLICATION

    @property
    def kafka_disk_bytes(self) -> float:
        """All brokers, events alone, for the retention."""
        return self.packed_bytes * REPLICATION * RETENTION_DAYS * DAY_S

    @property
    def clickhouse_disk_bytes(self) -> float:
        """A day of rows, one replica."""
        return self.rate * cost("row_bytes") * DAY_S

    @property
    def pulse_bytes(self) -> float:
        """Bytes a second of pulses: one a partition."""
        return self.events_partitions * cost("pulse")


def processes(cores: float) -> int:
    """Return how many processes a role needs; each is one core at most, and may be busy for BUSY_SHARE of it."""
    return max(PROCESSES_MIN, math.ceil(cores / BUSY_SHARE))


def step_messages_max() -> float:
    """Return how many messages a second a detector process can take: full steps, one after the other."""
    return STEP_MESSAGES / cost("commit") * 1e3


def highest_rate(holds: Callable[[Plan], bool]) -> int:
    """Return the highest rate, in steps of 10,000 events a second, up to which `holds`; 10 million at most."""
    rates = range(10_000, 10_000_001, 10_000)
    return next((rate - 10_000 for rate in rates if not holds(Plan(rate))), rates[-1])


# ── tables ──


def tables() -> dict[str, str]:
    """Return the tables of the document by name, in Markdown."""
    plans = [Plan(rate) for rate in RATES]
    return {
        "units": table(
            ["unit cost", "measured", "by"],
            [[unit.what, f"{unit.value:g} {unit.unit}", unit.source] for unit in UNITS.values()],
        ),
        "processes": _of_plans(plans, _PROCESSES),
        "bytes": _of_plans(plans, _BYTES),
        "samples": _of_plans(plans, _SAMPLES),
        "walls": table(["wall", "events a second"], [[what, f"{rate:,}"] for what, rate in walls()]),
    }


def walls() -> list[tuple[str, int]]:
    """Return what does not scale by adding processes, lowest first."""
    found = [
        (
            "the hottest detector restores in 10 s, with 16 samples partitions",
            highest_rate(lambda plan: plan.restore_s(16) <= RESTORE_S_MAX),
        ),
        (
            "a detector of one samples partition keeps up with the messages of all sources",
            highest_rate(_takes_messages(cost("batches"))),
        ),
        ("the same, if matchers gathered for 250 ms", highest_rate(_takes_messages(GATHERED_PER_SECOND))),
        (
            "an hour of lag fits 4 GB in the hottest detector",
            highest_rate(lambda plan: plan.waiting_bytes_per_minute * 60 <= 4e9),
        ),
        (
            "the keys that stay together fit half a core",
            highest_rate(lambda plan: plan.samples * hot_share() * cost("detector") / 1e6 <= BUSY_SHARE),
        ),
    ]
    return sorted(found, key=lambda wall: wall[1])


def _takes_messages(batches: float) -> Callable[[Plan], bool]:
    return lambda plan: plan.events_partitions * batches <= step_messages_max()


Row = tuple[str, Callable[[Plan], str]]


def _role(name: str, cores: Callable[[Plan], float]) -> Row:
    return name, lambda plan: f"{processes(cores(plan))} ({cores(plan):.2g})"


_PROCESSES: Sequence[Row] = (
    _role("gateway", lambda plan: plan.gateway_cores),
    _role("match", lambda plan: plan.matcher_cores),
    ("detect", lambda plan: f"{plan.detector_processes} ({plan.detector_cores:.2g})"),
    _role("sink", lambda plan: plan.sink_cores),
    ("pulse, notify, console", lambda _: "2 each"),
    ("cores of Kafka's brokers together", lambda plan: f"{plan.broker_cores:.2g}"),
    ("cores of ClickHouse, inserts alone", lambda plan: f"{plan.clickhouse_cores:.2g}"),
    ("events partitions", lambda plan: str(plan.events_partitions)),
    ("samples partitions", lambda plan: str(plan.samples_partitions)),
)
_BYTES: Sequence[Row] = (
    ("events as sent, lz4", lambda plan: f"{as_bytes(plan.packed_bytes)}/s"),
    ("into all brokers, replicas included", lambda plan: f"{as_bytes(plan.brokers_in_bytes)}/s"),
    ("out of all brokers", lambda plan: f"{as_bytes(plan.brokers_out_bytes)}/s"),
    ("pulses", lambda plan: f"{as_bytes(plan.pulse_bytes)}/s"),
    (
        f"disk of all brokers, {RETENTION_DAYS} days, {REPLICATION} replicas",
        lambda plan: as_bytes(plan.kafka_disk_bytes),
    ),
    ("rows into ClickHouse", lambda plan: f"{plan.rate:,}/s"),
    ("disk of ClickHouse, each day", lambda plan: as_bytes(plan.clickhouse_disk_bytes)),
)
_SAMPLES: Sequence[Row] = (
    ("samples", lambda plan: f"{plan.samples:,.0f}/s"),
    ("of these the hottest detector's", lambda plan: f"{plan.hottest_samples(plan.samples_partitions):,.0f}/s"),
    ("samples on the wire", lambda plan: f"{as_bytes(plan.samples * cost('sample_bytes'))}/s"),
    ("messages to each samples partition, as today", lambda plan: f"{plan.messages_per_samples_partition:,.0f}/s"),
    ("the same, gathered for 250 ms", lambda plan: f"{plan.events_partitions * GATHERED_PER_SECOND:,}/s"),
    ("messages that one detector process can take", lambda _: f"{step_messages_max():,.0f}/s"),
    ("samples of five minutes in the state topic", lambda plan: as_bytes(plan.state_bytes)),
    ("restore of the hottest detector", lambda plan: f"{plan.restore_s(plan.samples_partitions):.2g} s"),
    (
        "memory of waiting samples, hottest detector, a minute of lag",
        lambda plan: as_bytes(plan.waiting_bytes_per_minute),
    ),
)


def _of_plans(plans: Sequence[Plan], rows: Sequence[Row]) -> str:
    return table(
        ["events a second", *(f"{plan.rate:,}" for plan in plans)], [[name, *map(tell, plans)] for name, tell in rows]
    )


def as_bytes(count: float) -> str:
    """Return a number of bytes as people read it, two digits of it."""
    power = max(0, min(4, int(math.log10(count) // 3)))
    return f"{float(f'{count / 1000**power:.2g}'):g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


# ── the document ──


def written(document: str) -> str:
    """Return the document with the tables of now between its marks."""
    return filled(document, tables(), called="docs/scaling.md")


def main() -> int:
    """Print the tables, or write them into the document."""
    return print_or_write(tables(), DOCUMENT, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
