"""`flowgauge rules explain`: why a rule fires or does not for one key, by what it read at each evaluation."""

from collections.abc import Iterator, Mapping

from flowgauge.console.past_events import PastEvents, Span
from flowgauge.console.text_table import text_table
from flowgauge.processors.evaluation import Evaluation
from flowgauge.processors.explaining import Watch, conclusion, other_keys, refusals
from flowgauge.processors.replay import ReplayCounts, transition_row
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.counted import counted
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import Transition

COLUMNS = ("at", "state", "value", "threshold", "samples", "late", "why")
TOLD_COLUMNS = ("at", "key", "to", "reason", "examples")


class Explanation:
    """What became of `watch`'s rule and key over `past`. Raises BadInput for a past without any event."""

    def __init__(self, past: PastEvents, watch: Watch, span: Span) -> None:
        replay = past.replay(RuleSet((watch.rule,)), until_ms=span.until_ms, observe=watch.see)
        watch.take(replay.transitions())
        past.refuse_nothing(replay.counts)
        self._watch = watch
        self.counts: ReplayCounts = replay.counts
        has_any = watch.count or watch.told
        self._refusals: Mapping[str, int] = {} if has_any else refusals(watch, past.lines(), replay.counts.clock_ms)

    def json(self) -> dict[str, object]:
        """Return everything as JSON has it."""
        watch = self._watch
        return {
            "rule": watch.rule.name,
            "tenant": watch.key[0],
            "key": watch.rule.key_object(watch.key),
            "at": rfc3339(self.counts.clock_ms if watch.at_ms is None else watch.at_ms),
            "clock": rfc3339(self.counts.clock_ms),
            "says": list(conclusion(watch, self.counts.clock_ms)),
            "evaluated": watch.count,
            "evaluations": [_evaluation_json(each) for each in (*watch.before, *watch.after)],
            "told": [transition_row(each) for each in watch.told],
            "refused": dict(self._refusals),
            "other_keys": [] if watch.count else other_keys(watch),
        }

    def text(self) -> Iterator[str]:
        """Yield what people read, part by part."""
        watch = self._watch
        yield "\n".join(conclusion(watch, self.counts.clock_ms))
        if evaluations := (*watch.before, *watch.after):
            yield text_table(COLUMNS, [_row(each) for each in evaluations])
        if watch.told:
            yield text_table(TOLD_COLUMNS, [self._told_row(each) for each in watch.told])
        if not watch.count and not watch.told:
            yield "\n".join(self._nothing())

    def _nothing(self) -> Iterator[str]:
        """Yield why there was nothing to evaluate: what each event was refused by."""
        for reason, count in sorted(self._refusals.items(), key=lambda item: -item[1]):
            yield f"{counted(count, 'event')}: {f'refused by {reason}' if reason.startswith('`match') else reason}"
        if found := other_keys(self._watch):
            yield f"keys of this rule that were evaluated: {'; '.join(found)}"

    def _told_row(self, each: Transition) -> list[object]:
        """Return a firing, with what its key has beside the one that is asked about."""
        asked = self._watch.rule.group_names
        own = " ".join(f"{name}={value}" for name, value in each.key.items() if name not in asked)
        row = transition_row(each) | {"key": own, "examples": ", ".join(run.run for run in each.examples)}
        return [row[name] for name in TOLD_COLUMNS]


def _row(each: Evaluation) -> list[object]:
    reading = each.reading
    state = "resolved" if each.change and each.change.to_state == "resolved" else each.state
    numbers = (reading.value, reading.threshold, reading.samples, each.late_samples)
    return [rfc3339(each.end_ms), state, *numbers, each.why()]


def _evaluation_json(each: Evaluation) -> dict[str, object]:
    reading = each.reading
    return {
        "at": rfc3339(each.end_ms),
        "state": each.state,
        "changed_to": each.change.to_state if each.change else None,
        "verdict": reading.verdict.value,
        "reason": reading.reason,
        "value": reading.value,
        "threshold": reading.threshold,
        "samples": reading.samples,
        "late_samples": each.late_samples,
        "why": each.why(),
        "next": None if each.next_ms is None else rfc3339(each.next_ms),
    }
