"""The events topic of a simulation, drawn from a seed: what stands in it, when each record arrives, its true clock.

    workers ──Zipf tenants and flows──► runs ──► partition = hash of the run ──► stamped by the broker that leads it
              late, early, sent twice                                            whose clock jumps now and then

Nothing here depends on who reads it: the same seed gives the same log, byte for byte.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.control_records import Pulse, decode_pulse, encode_record
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.log import Record

LOG_ID = "simulated"
START_MS = 1_790_000_000_000
PULSE_EVERY_MS = 2_000
SLACK_MS = 5_000  # how far a stamp may run ahead of the newest pulse; written again, not imported: this is the oracle
QUIET_MS = 200_000  # the end of the log, in which nothing happens: every window empties, every alert ends
BROKERS = 3
BROKER_PHASE_MS = 75_000
BROKER_JUMPS_MS = (0, 0, 0, -60_000, -4_000, 4_000, 60_000)
TENANTS = 20
FLOWS_PER_TENANT = 10
ZIPF = 1.2  # the first of 200 flows then has a fifth of the runs
BURST_MS = 90_000

RULES = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 60s, min_samples: 3, clear_below: 10%}}
    for: 5s
    keep_firing_for: 10s
    no_data: resolve
  - name: tenant fails
    when: {failure_rate: {above: 25%, within: 2m, min_samples: 5, clear_below: 15%}}
  - name: often
    match: {state: failed}
    for_each: [flow]
    when: {event: {times: 3, within: 30s}}
    allowed_lateness: 3s
  - name: late
    for_each: [flow]
    when: {late: {after: 20s, at_least: 2, within: 60s}}
  - name: each crash
    match: {state: crashed}
    for_each: [flow]
    when: {event: {}}
"""
AT_ONCE = "each crash"  # waits for no pane

RULESETS = {1: RuleSet(parse_rules("rules.yaml", RULES).rules, 1)}


class _Sent(NamedTuple):
    true_ms: int  # when the broker appends it, by a clock that is right
    run: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """One events partition. `clocks[n]` is its clock after record n; `arrivals[n]` when record n can be read."""

    records: Sequence[Record]
    arrivals: Sequence[int]
    clocks: Sequence[int]

    def clock_ms(self, next_offset: int) -> int:
        """Return the clock of who has read all before `next_offset`; -1 for nothing."""
        return self.clocks[next_offset - 1] if next_offset else -1


@dataclass(frozen=True, slots=True)
class SimulatedLog:
    """All events partitions; nothing arrives after `end_ms`."""

    sources: Sequence[Source]
    end_ms: int

    @property
    def events(self) -> int:
        """How many events stand in it."""
        return sum(record.kind == RecordKind.EVENT for source in self.sources for record in source.records)


def drawn_log(seed: int, *, partitions: int, busy_ms: int, runs_per_second: float) -> SimulatedLog:
    """Draw a log in which something happens for `busy_ms`."""
    draw = random.Random(seed)
    sent: list[list[_Sent]] = [[] for _ in range(partitions)]
    for item in _sent_events(draw, busy_ms, runs_per_second):
        sent[events_partition(item.run, partitions)].append(item)
    end_ms = START_MS + busy_ms + QUIET_MS
    brokers = [_jumps(draw, busy_ms) for _ in range(BROKERS)]
    sources = [_source(events, brokers[number % BROKERS], end_ms) for number, events in enumerate(sent)]
    return SimulatedLog(sources, end_ms)


def true_clocks(records: Sequence[Record]) -> list[int]:
    """Return the clock after each record: the slow way, from the definition alone."""
    caps = [decode_pulse(item.value).sent_ms + SLACK_MS if _is_pulse(item) and item.value else 0 for item in records]
    capped = [
        min(item.append_ms, cap) if cap else item.append_ms
        for item, cap in zip(records, accumulate(caps, max), strict=True)
    ]
    return list(accumulate(capped, max))


def _is_pulse(record: Record) -> bool:
    return record.kind == RecordKind.PULSE


def _source(events: Sequence[_Sent], jumps: Sequence[int], end_ms: int) -> Source:
    moments = [(item.true_ms, RecordKind.EVENT, item.value) for item in events]
    moments += [
        (sent_ms, RecordKind.PULSE, encode_record(Pulse(sent_ms=sent_ms, log_id=LOG_ID)))
        for sent_ms in range(START_MS - PULSE_EVERY_MS, end_ms + 1, PULSE_EVERY_MS)
    ]
    moments.sort(key=lambda moment: moment[:2])
    records = [
        Record(offset, true_ms + _jump_at(true_ms, jumps), kind, "", value)
        for offset, (true_ms, kind, value) in enumerate(moments)
    ]
    return Source(records, [true_ms for true_ms, _, _ in moments], true_clocks(records))


def _jumps(draw: random.Random, busy_ms: int) -> list[int]:
    """Return what a broker's clock is wrong by in each phase; it is right in the end."""
    return [draw.choice(BROKER_JUMPS_MS) for _ in range(busy_ms // BROKER_PHASE_MS)] + [0]


def _jump_at(true_ms: int, jumps: Sequence[int]) -> int:
    return jumps[min(max(0, true_ms - START_MS) // BROKER_PHASE_MS, len(jumps) - 1)]


# ── what workers send ──


def _sent_events(draw: random.Random, busy_ms: int, runs_per_second: float) -> Iterator[_Sent]:
    flows = [(f"tenant-{n % TENANTS}", f"flow-{n // TENANTS}") for n in range(TENANTS * FLOWS_PER_TENANT)]
    weights = list(accumulate(1 / (rank + 1) ** ZIPF for rank in range(len(flows))))
    bursts = {flow: draw.randrange(busy_ms) for flow in flows}  # each fails for a while
    due_ms = 0.0
    while (due_ms := due_ms + draw.expovariate(runs_per_second / 1_000)) < busy_ms:
        flow = draw.choices(flows, cum_weights=weights)[0]
        is_failing = 0 <= due_ms - bursts[flow] < BURST_MS
        yield from _run(draw, flow, START_MS + int(due_ms), is_failing=is_failing)


def _run(draw: random.Random, flow: tuple[str, str], due_ms: int, *, is_failing: bool) -> Iterator[_Sent]:
    run = str(UUID(int=draw.getrandbits(128)))
    started_ms = due_ms + (draw.randrange(20_000, 60_000) if draw.random() < 0.05 else draw.randrange(3_000))
    ended_ms = started_ms + draw.randrange(1_000, 40_000)
    end = draw.choices(("failed", "crashed", "completed"), (7, 1, 2) if is_failing else (4, 1, 95))[0]
    logs = min(200, int(draw.paretovariate(1.1)))  # few runs write most of the log, each into one partition
    states = [(due_ms - 2_000, "scheduled"), (started_ms, "running"), (ended_ms, end)]
    states += [(draw.randrange(started_ms, ended_ms), "") for _ in range(logs)]
    for occurred_ms, state in states:
        value = _written(draw, flow, run, occurred_ms, state, due_ms)
        for true_ms in _arrivals(draw, occurred_ms):
            yield _Sent(true_ms, run, value)


def _arrivals(draw: random.Random, occurred_ms: int) -> Iterator[int]:
    """Yield when an event is appended: mostly soon, some too late, some before it says it happened, some twice."""
    fate = draw.random()
    if fate < 0.03:
        yield occurred_ms + draw.randrange(8_000, 60_000)
    elif fate < 0.035:
        yield occurred_ms - draw.randrange(5_000, 20_000)
    else:
        yield occurred_ms + int(draw.expovariate(1 / 400))
    if draw.random() < 0.02:
        yield occurred_ms + draw.randrange(40_000)


def _written(  # noqa: PLR0917  # the fields of one event, in their order
    draw: random.Random, flow: tuple[str, str], run: str, occurred_ms: int, state: str, due_ms: int
) -> bytes:
    head = f'{{"id":"{UUID(int=draw.getrandbits(128))}","tenant":"{flow[0]}","occurred":"{rfc3339(occurred_ms)}",'
    names = f'"flow":"{flow[1]}","run":"{run}","resource":{{"id":"flow-run.{run}"}}'
    if not state:
        return f'{head}"event":"log.write","kind":"log",{names},"payload":{{"level":20,"message":"a row"}}}}'.encode()
    state = f'"event":"flow-run.{state}","kind":"flow-run","state":"{state}","scheduled_for":"{rfc3339(due_ms)}"'
    return f"{head}{state},{names}}}".encode()
