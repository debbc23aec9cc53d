"""Print the entries of a lock for the packages that a list names, with their versions, conditions and hashes.

python pick.py requirements.lock packages.txt

So the image installs a part of the one lock, and no version stands anywhere else. A name without an entry is an error.
"""

import re
import sys
from pathlib import Path

_ENTRY = re.compile(r"^([a-z0-9][a-z0-9._-]*)==.*(?:\n\s+.*)*\n?", re.MULTILINE)


def names(listing: str) -> set[str]:
    """Return the names in a list: one a line, remarks after #."""
    return {name for line in listing.splitlines() if (name := line.partition("#")[0].strip())}


def pick(lock: str, wanted: set[str]) -> str:
    """Return the entries of `lock` for `wanted`, in its order. Raises ValueError that names what is missing."""
    entries = [(entry[1], entry[0]) for entry in _ENTRY.finditer(lock)]  # of some, one for each range of interpreters
    if missing := wanted - {name for name, _ in entries}:
        raise ValueError(f"not in the lock: {', '.join(sorted(missing))}")
    return "".join(entry for name, entry in entries if name in wanted)


def main(lock: str, *listings: str) -> None:
    """Print the part of the file `lock` that the files `listings` name."""
    wanted = set[str]().union(*(names(Path(file).read_text(encoding="utf-8")) for file in listings))
    sys.stdout.write(pick(Path(lock).read_text(encoding="utf-8"), wanted))


if __name__ == "__main__":
    main(*sys.argv[1:])
