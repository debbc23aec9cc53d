"""A document in docs whose tables a program makes: it prints them, or writes them into it."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from benchmarks.markdown import filled


def print_or_write(tables: Mapping[str, str], document: Path, *, about: str | None) -> int:
    """Print `tables`, or with `--write` put them into `document`; `about` is what the program's help says."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{document.stem}", description=about)
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{document.name}")
    if parser.parse_args().write:
        text = filled(document.read_text(encoding="utf-8"), tables, called=f"docs/{document.name}")
        document.write_text(text, encoding="utf-8")
    else:
        for name, text in tables.items():
            print(f"{name}\n\n{text}")
    return 0
