"""atheris (libFuzzer) on the targets: `python -m tests.fuzz.decoders TARGET|all [libFuzzer's arguments]`.

What crashes is written where `-artifact_prefix` says and told with its traceback; the process then ends with 77.
`all` takes the first byte as which target is meant: one process for a short run.
"""

import sys
from importlib import import_module
from typing import Any, cast

atheris = cast("Any", import_module("atheris"))  # there is none but for Linux, and it has no types

with atheris.instrument_imports(include=["flowgauge"]):
    from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> None:
    """Fuzz until an argument of libFuzzer ends it."""
    name, *more = arguments
    targets = list(TARGETS.values())

    def one(data: bytes) -> None:
        if name != "all":
            TARGETS[name](data)
        elif data:
            targets[data[0] % len(targets)](data[1:])

    atheris.Setup([sys.argv[0], *more], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
