"""What a tenant's export writes: a file of rows a table, and the manifest that they are verified by.

DIR/events.ndjson.gz …      a row a line, as ClickHouse says it; times are seconds since 1970 in UTC
DIR/manifest.json           written last: of each file the rows and the SHA-256 of its lines
"""

import gzip
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadEnvironment, BadInput, FlowgaugeError

MANIFEST = "manifest.json"
PIECE_BYTES = 1_048_576


class Exported(msgspec.Struct, frozen=True):
    """One file: its name, how many rows it has, and the digest of all its lines."""

    file: str
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What was exported: whose, until when it was appended, and each table's file."""

    tenant: str
    until_ms: int
    tables: dict[str, Exported]


def refuse_used(folder: Path) -> None:
    """Make `folder`; raise BadInput where something is in it: an export is whole or not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadInput(f"--to: {folder} is not empty: name another folder")
    except OSError as error:
        raise BadEnvironment(f"--to: {folder} cannot be written: {error.strerror}") from None


def write_rows(folder: Path, table: str, pages: Iterable[list[bytes]]) -> Exported:
    """Write the rows of `pages`; raise BadEnvironment where they cannot be."""
    file = folder / f"{table}.ndjson.gz"
    digest, rows = hashlib.sha256(), 0
    try:
        with gzip.open(file, "xb") as into:
            for page in pages:
                lines = b"".join(row + b"\n" for row in page)
                into.write(lines)
                digest.update(lines)
                rows += len(page)
    except OSError as error:
        raise BadEnvironment(f"{file} cannot be written: {error.strerror}") from None
    return Exported(file.name, rows, digest.hexdigest())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(text + b"\n")


def verify(folder: Path) -> Manifest:
    """Read every file again and compare it with the manifest; raise FlowgaugeError that names what differs."""
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    for each in manifest.tables.values():
        digest, rows = hashlib.sha256(), 0
        try:
            for piece in _pieces(folder / each.file):
                digest.update(piece)
                rows += piece.count(b"\n")
        except (OSError, EOFError) as error:
            raise FlowgaugeError(f"{folder / each.file} cannot be read again: {error}") from None
        if (rows, digest.hexdigest()) != (each.rows, each.sha256):
            raise FlowgaugeError(
                f"{folder / each.file} is not what was exported: {counted(rows, 'row')}, {each.rows:,} written"
            )
    return manifest


def _pieces(file: Path) -> Iterator[bytes]:
    with gzip.open(file) as lines:
        while piece := lines.read(PIECE_BYTES):
            yield piece
