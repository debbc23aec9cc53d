"""A detector that holds a million keys: what a quiet one takes in memory and in the state topic, and a restart.

Four rules have a quarter of the keys each. A key has one sample, as a flow that ran once in its window. Then the clock
goes on: nothing is due of them for minutes, then every window empties.
"""

import gc
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.measure import Line, Steps, best_of
from flowgauge.processors.detector import Detector
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.sample import Sample, SampleMessage

LOG_ID = "bench"
START_MS = 1_795_000_000_000
PER_MESSAGE = 2_000
QUIET_STEPS = 100
HOUR_MS = 3_600_000
RULES = """
rules:
  - {name: fails, for_each: [flow], when: {failure_rate: {above: 20%, within: 1h, min_samples: 5}}}
  - {name: fails in a row, for_each: [flow], when: {consecutive_failures: {times: 3, within: 1h}}}
  - {name: silent, for_each: [flow], match: {state: completed}, when: {absence: {after: 1h}}}
  - {name: slow, for_each: [flow], when: {duration: {above: 5m, quantile: 0.95, within: 1h}}}
"""
OUTCOMES = ("failed", "failed", "heard", "finished")


def bench_many_keys(keys: int) -> Line:
    """Hold `keys`; `events` counts them. Bytes are notes, and CPU milliseconds of a step in which nothing is due."""
    rulesets = {1: RuleSet(parse_rules("rules.yaml", RULES).rules, 1)}
    new = partial(Detector, log_id=LOG_ID, sources=1, rulesets=rulesets)
    detector, state, steps = new(), dict[str, bytes](), Steps()
    gc.collect()
    before = _resident_bytes()
    with steps.step("first sample"):
        for message in _messages(keys):
            _keep(state, detector.apply([message]).state)
    with steps.step("first evaluation"):
        _keep(state, detector.advance_to(START_MS + 600_000).state)
    gc.collect()
    stored = sum(len(name) + len(value) for name, value in state.items())
    held = _resident_bytes() - before - stored
    gc.freeze()
    quiet = Steps()
    with quiet.step("quiet"):
        for number in range(QUIET_STEPS):
            _keep(state, detector.advance_to(START_MS + 600_000 + number).state)
    count = detector.keys
    restore_seconds, _ = best_of(1, lambda: new(state=state))
    with steps.step("all windows empty"):
        _keep(state, detector.advance_to(START_MS + 2 * HOUR_MS).state)
    return steps.line("many-keys", keys).noting(
        keys=count,
        held_bytes_per_key=held / count,
        stored_bytes_per_key=stored / count,
        quiet_step_ms=quiet.spent["quiet"] * 1e3 / QUIET_STEPS,
        restore_seconds=restore_seconds,
    )


def _messages(keys: int) -> Iterator[SampleMessage]:
    each = keys // len(OUTCOMES)
    for start in range(0, keys, PER_MESSAGE):
        samples = [_sample(number, number // each, number % each) for number in range(start, start + PER_MESSAGE)]
        yield SampleMessage(LOG_ID, 0, start, start + PER_MESSAGE, START_MS + 1_000, 1, 0, samples)


def _sample(offset: int, rule: int, number: int) -> Sample:
    key = ("team-00", f"nightly-load-of-table-{number:06d}")
    return Sample(
        offset, START_MS, rule, key, START_MS * 1000, OUTCOMES[rule], f"{offset:032x}", f"run-{number}", key[1], 60.0
    )


def _keep(state: dict[str, bytes], changed: Mapping[str, bytes | None]) -> None:
    for name, value in changed.items():
        if value is None:
            state.pop(name, None)
        else:
            state[name] = value


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
