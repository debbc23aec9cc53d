"""The source set: which partitions of the events detection waits for. It grows with a rule set that says so. Pure.

    rule sets    1        2 joining [2, 4)        3
    source 0     ……[1]…………………[2]……………………[3]……    [2] is the announcement: the marker of the set
    source 1     ……[1]…………[2]……………………………[3]……
    source 2                       ├ clock C ……[3]……    made after every [2]; begins with set 2, and at the clock C,
    source 3                       ├ clock C ……[3]……    which no source had passed at its [2]

A detector takes new sources into its set at the first message of set 2, so its clock, the slowest source's, stands
at or before C then and stays until each of them was heard of. None of their records is before C. So nothing that was
final when they joined could hold one of their samples, however far each source was read: the result is the same as
if they had been there, empty, from the beginning.
"""

from collections.abc import Iterable, Iterator, Mapping

from flowgauge.processors.detector_state import STATE_FORMAT, PositionRecord, SourcePosition
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.errors import LogMismatch


def joinings(rulesets: Mapping[int, RuleSet]) -> Iterator[tuple[int, range]]:
    """Yield (version, source partitions) of each rule set with which some join, oldest first."""
    for version in sorted(rulesets):
        if joining := rulesets[version].joining:
            yield version, joining


def first_sources(rulesets: Mapping[int, RuleSet], partitions: int) -> int:
    """Return how many sources the log began with, which has `partitions` now."""
    return next((joining.start for _, joining in joinings(rulesets)), partitions)


def sources_at(rulesets: Mapping[int, RuleSet], partitions: int, version: int) -> int:
    """Return how many sources there are from rule set `version` on, in a log that has `partitions` now."""
    joined = [joining.stop for each, joining in joinings(rulesets) if each <= version]
    return joined[-1] if joined else first_sources(rulesets, partitions)


def joined_with(rulesets: Mapping[int, RuleSet], source: int) -> int:
    """Return the version of the rule set with which `source` joined, 0 for one that was there at first."""
    return next((version for version, joining in joinings(rulesets) if source in joining), 0)


def begun_with(rulesets: Mapping[int, RuleSet], begins: Iterable[int], source: int) -> int | None:
    """Return the version with which `source` begins, 0 for one that was there at first, None before it is written.

    `begins` are the versions for which a clock is written. The first from the one on that it joins with counts: a
    growth that broke off before its clock was written is taken along by the next, whose markers all sources have.
    """
    joined = joined_with(rulesets, source)
    return min((each for each in begins if each >= joined), default=None) if joined else 0


def admit(position: PositionRecord, rulesets: Mapping[int, RuleSet], version: int, clock_ms: int) -> None:
    """Take into `position`, whose clock is `clock_ms`, the sources that join with sets up to `version`.

    One that begins with a later version than it joins with tells so in its first message, before its clock moves.
    """
    sources = position.sources
    for each, joining in joinings(rulesets):
        if each <= version:
            sources += [SourcePosition(0, clock_ms, each) for _ in range(len(sources), joining.stop)]


def position_of(
    log_id: str, partitions: int, rulesets: Mapping[int, RuleSet], stored: PositionRecord | None
) -> PositionRecord:
    """Return where a detector goes on: as `stored`, else before everything.

    Raises LogMismatch when that is of another log, source set or format.
    """
    first = first_sources(rulesets, partitions)
    if stored is None:
        return PositionRecord(log_id, [SourcePosition() for _ in range(first)], 0, {}, STATE_FORMAT)
    if stored.state_format != STATE_FORMAT:
        raise LogMismatch(
            f"the detector's state has format {stored.state_format}, this version reads {STATE_FORMAT}: run "
            "the version that wrote it, or start with a new data folder"
        )
    if stored.log_id != log_id or len(stored.sources) not in {first, *(each.stop for _, each in joinings(rulesets))}:
        raise LogMismatch(
            f"the detector's state belongs to log {stored.log_id} with {len(stored.sources)} source partitions, "
            f"this log is {log_id} with {partitions}: restore the log that belongs to it, or start with a new one"
        )
    return stored
