"""`python -m benchmarks.questions make|ask|tell|compare`: what questions take over a month of events.

make --events 206000000 --data DIR              make them, or what is missing of them
ask --data DIR --clients 1 16 --cold            JSON lines: each question, then bytes by table and column
tell FILE…                                      the same lines as tables in Markdown
compare --data DIR --hours 180 --merge          other tables for the same events: docs/adr/0016
"""

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.markdown import filled
from benchmarks.questions.ask import ask, ask_cold, embedded, facts_of, kept, served, tell_something
from benchmarks.questions.askings import ALL, LARGEST, Facts, Question, questions
from benchmarks.questions.compare import ROUNDS, compare
from benchmarks.questions.figures import Asked, Compared, Kept, tables
from benchmarks.questions.make import make

DOCUMENT = Path(__file__).parents[2] / "docs" / "questions-at-scale.md"
ASKINGS = 100
COLD_ASKINGS = 3


def main() -> int:
    """Do what is asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.questions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make events")
    making.add_argument("--events", type=int, required=True, help="how many; whole runs of 206 are made")
    asking = commands.add_parser("ask", help="ask questions of them")
    asking.add_argument("--clients", type=int, nargs="+", default=[1], help="how many ask at once")
    asking.add_argument("--cold", action="store_true", help="also in fresh processes, of files that are not in memory")
    asking.add_argument("--askings", type=int, default=ASKINGS, help="of each question, if time allows")
    asking.add_argument("--of", nargs="+", choices=(LARGEST, ALL), default=(LARGEST, ALL), help="of whom")
    asking.add_argument("--unfolded", action="store_true", help="after something came of a run since the last fold")
    asking.add_argument("--only", help="questions whose name begins so")
    asking.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)  # of the askings; for cold ones
    asking.add_argument("--facts", type=Path, help=argparse.SUPPRESS)  # looked up already; for cold ones
    telling = commands.add_parser("tell", help="make tables of what asking said")
    telling.add_argument("files", type=Path, nargs="+")
    telling.add_argument("--write", action="store_true", help="put them into docs/questions-at-scale.md")
    comparing = commands.add_parser("compare", help="compare other tables for them")
    comparing.add_argument("--hours", type=int, required=True, help="how much of the month each table gets")
    comparing.add_argument("--rounds", type=int, default=ROUNDS, help="of the questions")
    comparing.add_argument("--only", nargs="+", default=("",), help="tables: whole, slice, column, or more of a name")
    comparing.add_argument("--merge", action="store_true", help="merge each day into one part before asking")
    for each in (making, asking, comparing):
        each.add_argument("--data", type=Path, required=True, help="the folder of ClickHouse in process")
    asked = parser.parse_args()
    return {"make": _make, "ask": _ask, "tell": _tell, "compare": _compare}[asked.command](asked)


def _make(asked: argparse.Namespace) -> int:
    line = make(asked.data, asked.events, _say)
    if line is not None:
        _print(line)
    return 0


def _compare(asked: argparse.Namespace) -> int:
    for line in compare(asked.data, asked.hours, asked.rounds, only=asked.only, merges=asked.merge, say=_say):
        _print(line)
    return 0


def _tell(asked: argparse.Namespace) -> int:
    lines = [line for file in asked.files for line in file.read_bytes().splitlines()]
    found = tables([msgspec.json.decode(line, type=Asked | Kept | Compared) for line in lines])
    if asked.write:
        document = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(filled(document, found, called="docs/questions-at-scale.md"), encoding="utf-8")
    else:
        print("\n".join(f"<!-- table: {name} -->\n{text}<!-- end -->" for name, text in found.items()))
    return 0


def _ask(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder:
        facts_file = asked.facts or Path(folder) / "facts.json"
        if asked.facts is None:
            with embedded(asked.data) as asker:
                facts_file.write_bytes(msgspec.json.encode(facts_of(asker.client)))
        facts = msgspec.json.decode(facts_file.read_bytes(), type=Facts)
        for clients in asked.clients:
            _ask_warm(asked, facts, clients)
        if asked.cold:
            for question in _questions(asked, facts, COLD_ASKINGS):
                _print(ask_cold(asked.data, facts_file, question))
    return 0


def _ask_warm(asked: argparse.Namespace, facts: Facts, clients: int) -> None:
    with embedded(asked.data) if clients == 1 else served(asked.data, clients) as asker:
        if asked.unfolded:
            tell_something(asker.client, facts)
        for question in _questions(asked, facts, asked.askings):
            _print(ask(asker, question, clients, warm=not asked.facts))
        if clients == 1 and not asked.facts:
            for each in kept(asker.client):
                _print(each)


def _questions(asked: argparse.Namespace, facts: Facts, askings: int) -> list[Question]:
    found = questions(facts, askings, first=asked.first, of=asked.of)
    return [question for question in found if question.name.startswith(asked.only or "")]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(line: msgspec.Struct) -> None:
    print(msgspec.json.encode(line).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
