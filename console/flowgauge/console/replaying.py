"""`flowgauge replay`: a file of events in, transitions out, by the pure replay of the processors."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from flowgauge.console.past_events import PastEvents, said_of
from flowgauge.console.text_table import text_table
from flowgauge.processors.replay import transition_row
from flowgauge.processors.ruleset import load_rules
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import parse_time_ms
from flowgauge.transport.yaml_files import refuse_no_files

TABLE_FIELDS = ("at", "rule", "key", "from", "to", "value", "samples", "reason")

Say = Callable[[str], None]


def replay_file(
    events: Path, rule_files: Sequence[Path], *, form: str, until: str | None, say: Say, complain: Say
) -> int:
    """Say each transition, and complain of lines that cannot be read and of what was counted; return the exit code.

    Raises BadInput for a pipe and for a file without any event; for a capture of a Prefect server with the remedy.
    """
    refuse_no_files(rule_files)
    ruleset, until_ms, past = load_rules(rule_files), _until_ms(until), PastEvents(events)
    replay = past.replay(ruleset, until_ms=until_ms)
    rows = (transition_row(transition) for transition in replay.transitions())
    if form == "jsonl":
        for row in rows:
            say(msgspec.json.encode(row).decode())
    table = [[row[name] for name in TABLE_FIELDS] for row in rows]  # none are left of what was said by lines
    past.refuse_nothing(replay.counts)
    if form == "table":
        say(text_table(TABLE_FIELDS, table))
    complaints = past.complaints()
    for line in complaints:
        complain(line)
    complain(said_of(replay.counts))
    return 1 if complaints else 0


def _until_ms(until: str | None) -> int | None:
    try:
        return parse_time_ms(until) if until else None
    except ValueError as error:
        raise BadInput(f"--until: {error}") from None
