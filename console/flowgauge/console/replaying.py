"""`flowgauge replay` and `rules test`: files in, transitions out, by the pure replay of the processors."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from flowgauge.console.loading import read_lines
from flowgauge.console.text_table import text_table
from flowgauge.processors.replay import Replay, ReplayCounts, transition_row
from flowgauge.processors.ruleset import load_rules
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import parse_time_ms

TABLE_FIELDS = ("at", "rule", "key", "from", "to", "value", "samples", "reason")


def replay_file(events: Path, rule_files: Sequence[Path], *, form: str, until: str | None) -> Iterator[str]:
    """Yield what to print; what the replay counted goes to standard error."""
    ruleset = load_rules(rule_files)
    try:
        until_ms = parse_time_ms(until) if until else None
    except ValueError as error:
        raise BadInput(f"--until: {error}") from None
    replay = Replay(lambda: read_lines(events), ruleset, until_ms=until_ms, report=_reporter(events))
    rows = (transition_row(transition) for transition in replay.transitions())
    if form == "jsonl":
        for row in rows:
            yield msgspec.json.encode(row).decode()
    else:
        yield text_table(TABLE_FIELDS, [[row[field] for field in TABLE_FIELDS] for row in rows])
    click.echo(_counted(replay.counts), err=True)


def _reporter(events: Path) -> Callable[[int, str], None]:
    def report(line: int, problem: str) -> None:
        click.echo(f"{events}:{line}: {problem}", err=True)

    return report


def _counted(counts: ReplayCounts) -> str:
    return (
        f"{counts.lines} lines, {counts.skipped} skipped, {counts.invalid} invalid events, {counts.samples} samples, "
        f"{counts.late} late, {counts.skewed} skewed, {counts.transitions} transitions"
    )
