"""`flowgauge rules apply`: to the running server, or into the data folder's log when no server owns it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from flowgauge.console.ask import Place, post
from flowgauge.console.rule_folder import APPLIED, read_written, replace_files
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.errors import BadInput, DataFolderLocked, InvalidRules, Problem, ServerAway
from flowgauge.transport.data_folder import lock_data_folder
from flowgauge.transport.local import open_local_log
from flowgauge.transport.local_file import FILE_NAME


async def apply_files(place: Place, files: Sequence[Path]) -> str:
    """Put the rules and channels of `files` in force; return what to tell.

    Raises InvalidRules before it asks anyone.
    """
    texts = _texts(files)
    written = read_written(list(files))
    try:
        answer = await post(place, "/v1/rules", msgspec.json.encode({"files": texts}))
        version = answer.body["version"]
    except ServerAway as away:
        if not has_log(place.data):
            raise
        version = await _apply_to_folder(place.data, texts, away)
    rules, channels = len(written.ruleset.rules), len(written.channels.channels)
    return f"rule set {version} is in force: {rules} rules, {channels} channels"


async def _apply_to_folder(data: Path, texts: dict[str, str], away: ServerAway) -> int:
    try:
        with lock_data_folder(data):
            written = replace_files(data / APPLIED, texts)
            log = await open_local_log(data, partitions={})
            try:
                return await publish_rules(log, written.ruleset)
            finally:
                await log.close()
    except DataFolderLocked as locked:
        raise ServerAway(f"{away}; {locked}") from None


def has_log(data: Path) -> bool:
    """Tell whether a server has run in this folder."""
    return (data / FILE_NAME).is_file()


def _texts(files: Sequence[Path]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in files:
        if file.name in texts:
            raise BadInput(f"two files are called {file.name}: rename one")
        try:
            texts[file.name] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRules((Problem(str(file), 0, 0, "", f"cannot be read: {error}"),)) from None
    return texts
