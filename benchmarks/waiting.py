"""Samples that wait because one source lags: what they cost in memory, in the state topic, and at a restore.

source 0   ─────────────────────────●      its samples wait, all of them:
source 1   ●                               the slowest source holds every pane
"""

import gc
import tracemalloc
from collections.abc import Mapping, Sequence

from benchmarks.measure import Line, best_of, line_of
from benchmarks.pure import LOG_ID, sample_messages
from benchmarks.rules import fifty_rules
from flowgauge.processors.detector import Detector
from flowgauge.processors.detector_state import read_chunks
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.sample import SampleMessage, decode_message, encode_message

PASSES = 3
MESSAGES_PER_STEP = 4


def bench_waiting(samples: int) -> Line:
    """Restore a detector in which `samples` wait; `events` counts them. Bytes are notes."""
    rulesets = {1: fifty_rules()}
    encoded = [encode_message(message) for message in sample_messages(samples)]
    samples = sum(len(decode_message(value).samples) for value in encoded)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    detector = _detector(rulesets, {})
    state = _apply(detector, encoded, lags=True)
    gc.collect()
    stored_bytes = sum(len(value) for value in state.values())
    held_bytes = tracemalloc.get_traced_memory()[0] - before - stored_bytes
    tracemalloc.stop()
    waiting_seconds, _ = best_of(PASSES, lambda: _detector(rulesets, state))

    calm = _detector(rulesets, {})
    calm_state = _apply(calm, encoded, lags=False)
    calm_seconds, _ = best_of(PASSES, lambda: _detector(rulesets, calm_state))
    recent = sum(len(kept.samples) for _, chunk in read_chunks(calm_state) for kept in chunk)
    key_bytes = [len(value) for name, value in calm_state.items() if name.startswith("k/")]
    return line_of("waiting", samples, waiting_seconds).noting(
        message_bytes_per_sample=sum(map(len, encoded)) / samples,
        held_bytes_per_sample=held_bytes / samples,
        stored_bytes_per_sample=stored_bytes / samples,
        calm_keys=calm.keys,
        calm_bytes_per_key=sum(key_bytes) / len(key_bytes),
        calm_bytes_per_key_max=max(key_bytes),
        calm_state_bytes_per_key=sum(map(len, calm_state.values())) / calm.keys,
        calm_recent_samples=recent,
        calm_restore_us_per_recent_sample=calm_seconds / recent * 1e6,
    )


def _detector(rulesets: Mapping[int, RuleSet], state: Mapping[str, bytes]) -> Detector:
    return Detector(log_id=LOG_ID, sources=2, rulesets=rulesets, state=state)


def _apply(detector: Detector, encoded: Sequence[bytes], *, lags: bool) -> dict[str, bytes]:
    """Return the state that is stored in the end; source 1 stays at the first message's clock if it `lags`."""
    state: dict[str, bytes] = {}
    for start in range(0, len(encoded), MESSAGES_PER_STEP):
        messages = [decode_message(value) for value in encoded[start : start + MESSAGES_PER_STEP]]
        if start == 0 or not lags:
            messages.append(_silence(messages[0] if lags else messages[-1], start))
        for name, value in detector.apply(messages).state.items():
            if value is None:
                state.pop(name, None)
            else:
                state[name] = value
    return state


def _silence(message: SampleMessage, start: int) -> SampleMessage:
    """Return a message of source 1 that brings no sample, only the clock of `message`."""
    return SampleMessage(LOG_ID, 1, start, start + MESSAGES_PER_STEP, message.clock_ms, message.rules_version, 0, [])
