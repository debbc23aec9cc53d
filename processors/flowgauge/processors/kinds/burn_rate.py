"""`burn_rate`: fires while the error budget of an objective burns too fast over a long and over a short window.

    objective: 99%, so a budget of 1% of all runs          above: 14.4, within: 1h, short: 5m
    failing    ·····  1%  ··········  30%  ·········  0%       burns 1 fast, then 30, then not at all
    1h                                ├─ over 14.4% ──────────────┤   it is no passing burst
    5m                             ├─ over 14.4% ──────┤              and it goes on
    alert                             firing …………………… resolved

Rule: at a pane end, breach if for any pair both rates failed / finished are > `above` * (1 - `objective`) and the long
window holds >= `min_samples` finished runs; clear if no pair with so many does.

    pair       panes of the long window, at most 120; the short one is a whole number of them
    1h, 5m     │││││││││││││││││││││││││││││││││││││││   30s: the step of the rule
    6h, 30m    │     │     │     │     │     │     │     3m: between its own pane ends it stays as it was read last

Cases of one pair, the first that holds for any pair is the reading:
 1. Both rates are above: breach.
 2. The same, but with `guard: wilson` the long one may be above by chance: neither (see `failure_rate`).
 3. The long rate is above, in too few runs, or nothing ended in the short window: held, for it may go on.
 4. The long window holds enough runs and a rate is not above: clear.
 5. It holds fewer, and their rate is not above: held where no other pair can tell.
 6. No run at all: empty, where every pair is.

The usual pairs are those of the Site Reliability Workbook (B. Beyer et al., 2018), chapter 5: 14.4 over an hour is 2 %
of the budget of 30 days, 6 over six hours is 5 %, 1 over three days is 10 %.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from math import ceil, gcd
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from flowgauge.processors.kinds.counted_panes import CountedPanes, example_of
from flowgauge.processors.kinds.ends_of_runs import FAILED, EndsOfRuns
from flowgauge.processors.kinds.failure_rate import wilson_lower_end
from flowgauge.processors.kinds.kind import Contradiction, Examples, Unit, Window
from flowgauge.processors.panes import PANE_MS_MIN, PANES_MAX, pane_end_at_or_after
from flowgauge.processors.reading import Reading, Verdict
from flowgauge.processors.selector import text_test
from flowgauge.schemas.rule import IN_DIGITS, IN_NUMBERS, Rule, Share, WindowMs, Written
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun

SHORT_PART = 12  # the short window is this part of the long one, where none is written
PAIRS_MAX = 4  # of one rule: a page has two; each keeps panes of its own for every key
STEPS_MAX = 10_000  # of the longest window: late samples are counted by step

USUAL_PAIRS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "page": ({"above": 14.4, "within": "1h"}, {"above": 6, "within": "6h"}),
    "ticket": ({"above": 1, "within": "3d"},),
}


class Pair(Written):
    """A long and a short window, and how many times as fast as the objective allows the budget may burn over both."""

    above: Annotated[float, Field(gt=0, allow_inf_nan=False), IN_NUMBERS]
    within: WindowMs
    short: WindowMs | None = None

    @field_validator("short")
    @classmethod
    def _unless_default(cls, short: int | None, info: ValidationInfo) -> int | None:
        """Mean the same by a twelfth that is written out."""
        return None if short == info.data.get("within", 0) // SHORT_PART else short

    @model_validator(mode="after")
    def _possible(self) -> "Pair":
        if self.short_ms >= self.within:
            raise ValueError("`short` is not shorter than `within`: leave it out for a twelfth")
        if not self.pane_ms:
            least = format_duration(_pane_ms_min(self.within))
            if self.short:
                raise ValueError(f"`short` and `within` have no common pane of {least} or more: write a twelfth")
            raise ValueError("`within` has no twelfth of 1s or more, in whole ms: write 12s or more, or a `short`")
        return self

    def defaults(self) -> Mapping[str, object]:
        """Return what `short` is."""
        return {"short": self.short_ms}

    @property
    def short_ms(self) -> int:
        """The length of `short`, a twelfth of `within` where it is not written."""
        return self.short or self.within // SHORT_PART

    @cached_property
    def pane_ms(self) -> int:
        """The smallest pane of which both windows are a whole number, the long one of at most PANES_MAX; 0: none."""
        common = gcd(self.within, self.short_ms)
        return next((common // part for part in range(PANES_MAX, 0, -1) if self._is_pane(common, part)), 0)

    def _is_pane(self, common: int, part: int) -> bool:
        return common % part == 0 and common // part >= _pane_ms_min(self.within)


def _pane_ms_min(within: int) -> int:
    return max(PANE_MS_MIN, -(-within // PANES_MAX))


_PairsWritten = Literal["page", "ticket"] | Annotated[tuple[Pair, ...], Field(min_length=1, max_length=PAIRS_MAX)]


def _pairs(value: object) -> object:
    """Return the pairs that a name stands for, and a list of pairs as it is."""
    if isinstance(value, str) and value in USUAL_PAIRS:
        return USUAL_PAIRS[value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected page, ticket or a list of pairs, got {value!r}")  # noqa: TRY004  # pydantic's way
    if not 1 <= len(cast("Sequence[object]", value)) <= PAIRS_MAX:
        raise ValueError(f"expected page, ticket or 1 to {PAIRS_MAX} pairs")
    return cast("Sequence[object]", value)


class BurnRate(EndsOfRuns):
    """The fields of `burn_rate`."""

    name: ClassVar[str] = "burn_rate"
    unit: ClassVar[Unit | None] = "share"
    examples_as: ClassVar[Examples] = Examples(
        "Failing runs", "the first that counted, with their last error lines, UTC"
    )

    objective: Share
    pairs: Annotated[tuple[Pair, ...], BeforeValidator(_pairs, json_schema_input_type=_PairsWritten)]
    min_samples: Annotated[int, Field(ge=1), IN_DIGITS] = 20
    guard: Literal["wilson"] | None = None

    @model_validator(mode="after")
    def _possible(self) -> "BurnRate":
        if self.objective >= 1:
            raise ValueError("`objective: 100%` leaves no budget that could burn: write 99.9% or less")
        for pair in self.pairs:
            if self.threshold(pair) >= 1:
                fastest = float(1 / (1 - Decimal(repr(self.objective))))
                over = f"`above: {pair.above:g}` over {format_duration(pair.within)} can never fire"
                raise ValueError(
                    f"`pairs`: {over}: with this `objective` the budget burns at most {fastest:g} times too fast, "
                    "when every run fails: write less"
                )
        for one, other in pairwise(sorted(self.pairs, key=lambda pair: pair.within)):
            if one.within == other.within and one.short_ms == other.short_ms:
                raise ValueError(f"`pairs`: {_words(one)} stand twice, the lower `above` decides: remove one")
        if self.pane_ms < PANE_MS_MIN or self.window_ms > STEPS_MAX * self.pane_ms:
            raise ValueError("`pairs`: these windows have no common step of enough length: write a rule for each")
        return self

    @property
    def window_ms(self) -> int:
        """The longest of the long windows."""
        return max(pair.within for pair in self.pairs)

    @property
    def look_back_ms(self) -> int:
        """The longest of the long windows, each as it stood at the last pane end of its pair."""
        return max(pair.within + pair.pane_ms for pair in self.pairs)

    @cached_property
    def pane_ms(self) -> int:
        """The step: the largest that goes into the panes of every pair."""
        return gcd(*(pair.pane_ms for pair in self.pairs))

    def threshold(self, pair: Pair) -> float:
        """Return the failure rate above which the budget burns too fast for `pair`: the nearest to what is written."""
        return float(Decimal(repr(pair.above)) * (1 - Decimal(repr(self.objective))))

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse rates that are 0 or 1 whatever happens."""
        if "state" not in rule.match:
            return
        sees = text_test(rule.match["state"])
        if not any(map(sees, {*self.finished} - {*self.failures})):
            yield ("match", "state"), "an objective is about the runs that succeed too: none is seen", "remove `state`"
        elif not any(map(sees, self.failures)):
            yield ("match", "state"), "no run that fails would be seen", "remove `state`"

    def needed_at_once(self, states: frozenset[str]) -> tuple[str, int]:  # noqa: ARG002  # it looks at ends by itself
        """Need `min_samples` in the long window of a pair."""
        return "min_samples", self.min_samples

    def passed_by_one(self) -> Iterator[Contradiction]:
        """Find budgets of which one run of `min_samples` burns too much."""
        lowest = min(self.threshold(pair) for pair in self.pairs)
        if self.guard is None and lowest < 1 / self.min_samples:
            place = "min_samples" if "min_samples" in self.model_fields_set else "objective"
            message = f"1 failed run of {self.min_samples} makes it fire"
            remedy = f"`min_samples: {ceil(1 / lowest)}` asks for two, `guard: wilson` rules out chance"
            yield ("when", self.name, place), message, remedy

    def notes(self) -> Mapping[str, str]:
        """Tell where a single failed run is enough."""
        found = next(self.passed_by_one(), None)
        return {} if found is None else {"min_samples": f"{found[1]}: {found[2]}"}

    def new_window(self) -> Window:
        """Return an empty window."""
        return BurnRateWindow(self, [PairWindow(self, pair) for pair in self.pairs])

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        stored = zip(self.pairs, cast("Sequence[Any]", dumped), strict=True)
        return BurnRateWindow(self, [PairWindow(self, pair, panes) for pair, panes in stored])


def _words(pair: Pair) -> str:
    return f"{format_duration(pair.within)} and {format_duration(pair.short_ms)}"


class Case(IntEnum):
    """What one pair says: the cases of this file, the lowest of all pairs counts."""

    BURNS = 1
    MAY_BE_CHANCE = 2
    MAY_BURN = 3
    CLEAR = 4
    TOO_FEW = 5
    EMPTY = 6


_VERDICTS = {
    Case.BURNS: Verdict.BREACH,
    Case.MAY_BE_CHANCE: Verdict.BETWEEN,
    Case.MAY_BURN: Verdict.HELD,
    Case.CLEAR: Verdict.CLEAR,
    Case.TOO_FEW: Verdict.HELD,
    Case.EMPTY: Verdict.EMPTY,
}


class _Pane(NamedTuple):
    """A pane of a pair that has not ended yet."""

    end_ms: int
    total: int
    failed: int
    examples: list[ExampleRun]


class PairWindow:
    """The finished and failed runs of one pair, in its own panes. `_coming` is the pane that has not ended."""

    __slots__ = ("_coming", "_pair", "_rule", "_short", "_threshold", "long")

    def __init__(self, rule: BurnRate, pair: Pair, dumped: Sequence[Any] = ((), (), None)) -> None:
        long, short, coming = dumped
        self._rule = rule
        self._pair = pair
        self._threshold = rule.threshold(pair)
        self.long = CountedPanes(pair.within, long)
        self._short = CountedPanes(pair.short_ms, short)
        self._coming: _Pane | None = None
        if coming is not None:
            end_ms, total, failed, examples = coming
            self._coming = _Pane(end_ms, total, failed, [ExampleRun(*example) for example in examples])

    def add(self, end_ms: int, total: int, failed: list[ExampleRun]) -> None:
        """Count the step that ends at `end_ms`; `failed` are in order of time and id."""
        self._pass_time(end_ms - 1)
        pane_end_ms = pane_end_at_or_after(end_ms, self._pair.pane_ms)
        before = self._coming or _Pane(pane_end_ms, 0, 0, [])
        examples = (before.examples + failed)[:EXAMPLES_MAX]
        self._coming = _Pane(pane_end_ms, before.total + total, before.failed + len(failed), examples)

    def _pass_time(self, end_ms: int) -> None:
        coming = self._coming
        if coming is not None and coming.end_ms <= end_ms:
            self.long.add(coming.end_ms, coming.total, counted=coming.failed, examples=coming.examples)
            self._short.add(coming.end_ms, coming.total, counted=coming.failed, examples=[])
            self._coming = None
        read_ms = end_ms // self._pair.pane_ms * self._pair.pane_ms
        self.long.expire(read_ms)
        self._short.expire(read_ms)

    def read(self, end_ms: int) -> tuple[Case, Reading]:
        """Return what the pair says at its last pane end that is not after `end_ms`."""
        self._pass_time(end_ms)
        finished = self.long.total
        rate = self.long.counted / finished if finished else None
        case, reason = self._judge(rate)
        return case, Reading(_VERDICTS[case], reason, rate, self._threshold, finished)

    def _judge(self, rate: float | None) -> tuple[Case, str]:
        fewest = self._rule.min_samples
        if rate is None:
            return Case.EMPTY, "no run finished in the window"
        if rate > self._threshold:
            if self.long.total < fewest:
                return Case.MAY_BURN, f"fewer than {fewest} runs finished"
            return self._judge_burning()
        if self.long.total < fewest:
            return Case.TOO_FEW, f"fewer than {fewest} runs finished"
        return Case.CLEAR, f"the error budget burns slowly enough over {format_duration(self._pair.within)}"

    def _judge_burning(self) -> tuple[Case, str]:
        """Judge where the rate of the long window is above, in runs enough."""
        pair, long, short = self._pair, self.long, self._short
        if not short.total:
            return Case.MAY_BURN, f"no run finished in the last {format_duration(pair.short_ms)}"
        if short.counted / short.total <= self._threshold:
            return Case.CLEAR, f"the error budget burns slowly enough over {format_duration(pair.short_ms)}"
        if self._rule.guard and wilson_lower_end(long.counted, long.total) <= self._threshold:
            return Case.MAY_BE_CHANCE, "the error budget burns too fast, in too few runs to rule out chance"
        return Case.BURNS, f"the error budget burns more than {pair.above:g} times too fast over {_words(pair)}"

    def next_change_ms(self) -> int | None:
        """Return when its pane ends or the oldest pane leaves a window."""
        ends = (self._coming and self._coming.end_ms, self.long.next_expiry_ms(), self._short.next_expiry_ms())
        return min((end for end in ends if end is not None), default=None)

    def dump(self) -> list[Any]:
        """Return its panes."""
        return [self.long.dump(), self._short.dump(), list(self._coming) if self._coming else None]


class BurnRateWindow:
    """The pairs of one key."""

    __slots__ = ("_pairs", "_read", "_rule")

    def __init__(self, rule: BurnRate, pairs: Sequence[PairWindow]) -> None:
        self._rule = rule
        self._pairs = pairs
        self._read = pairs[0]  # of which the last reading told

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:
        """Count a final step."""
        failed = [example_of(sample) for sample in samples if sample.outcome == FAILED]
        for pair in self._pairs:
            pair.add(end_ms, len(samples), failed)

    def read(self, end_ms: int) -> Reading:
        """Return the reading of the pair that decides; of equal cases, of the first that is written."""
        readings = [(*pair.read(end_ms), pair) for pair in self._pairs]
        _, reading, self._read = min(readings, key=lambda read: read[0])
        return reading

    def examples(self) -> Sequence[ExampleRun]:
        """Return failed runs of the pair that was told of."""
        return self._read.long.examples()

    def next_change_ms(self) -> int | None:
        """Return when the first of the pairs may change."""
        ends = (pair.next_change_ms() for pair in self._pairs)
        return min((end for end in ends if end is not None), default=None)

    def is_lasting(self) -> bool:
        """Last no longer than the panes."""
        return False

    def take_refused(self) -> int:
        """Refuse none: panes are bounded by themselves."""
        return 0

    def dump(self) -> Any:
        """Return the pairs."""
        return [pair.dump() for pair in self._pairs]
