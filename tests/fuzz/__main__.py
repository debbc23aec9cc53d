"""`make fuzz`: half of the time atheris on each target, half schemathesis on a server; ends with 1 if any found one.

What crashed a target is kept in .cache/fuzz with the inputs that led there: run
`python -m tests.fuzz.decoders TARGET FILE` to see it again, and put it into seeds.py once it is mended.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click
from tests.fuzz.http_api import fuzz_all
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS

KEPT = Path(".cache") / "fuzz"


@click.command()
@click.option("--seconds", default=600, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--only", type=click.Choice([*TARGETS, "http"]), help="One of them, for all of the time.")
def main(seconds: int, seed: int, only: str | None) -> None:
    """Fuzz everything that takes bytes of others."""
    found: list[str] = []
    targets = [target for target in TARGETS if only in (None, target)]
    for target in targets:
        each_s = seconds if only else max(seconds // 2 // len(TARGETS), 1)
        if not _fuzzed(target, each_s, seed):
            found.append(target)
    if only in (None, "http"):
        with tempfile.TemporaryDirectory() as folder:
            code, said = fuzz_all(Path(folder), seed=seed, seconds=seconds if only else max(seconds // 2, 1))
        click.echo(said)
        found += ["http"] if code else []
    click.echo(f"found something: {', '.join(found)}" if found else "nothing found")
    raise SystemExit(bool(found))


def _fuzzed(target: str, seconds: int, seed: int) -> bool:
    """Fuzz one target; tell whether nothing was found."""
    corpus = KEPT / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(seeds_of(target)):
        (corpus / f"seed-{number}").write_bytes(each)
    command = [sys.executable, "-m", "tests.fuzz.decoders", target, f"-seed={seed}", f"-max_total_time={seconds}"]
    command += ["-max_len=16384", "-timeout=20", f"-artifact_prefix={KEPT}/{target}-", str(corpus)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = ended.stdout.splitlines()
    click.echo(f"{target}: {lines[-1] if lines else ''}")
    if ended.returncode:
        click.echo("\n".join(line for line in lines[-80:] if not line.startswith("#")))
    return ended.returncode == 0


if __name__ == "__main__":
    main()
