"""`flowgauge rules apply`: to the running server, or into the data folder's log when no server owns it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from flowgauge.console.ask import Place, post
from flowgauge.console.rule_files import replace_files, texts_of
from flowgauge.console.rule_folder import APPLIED, PUBLIC_ONLY, Applied, Written, check_written
from flowgauge.processors.ruleset import RuleSet
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.errors import BadEnvironment, DataFolderLocked, ServerAway, Transient
from flowgauge.transport.data_folder import lock_data_folder
from flowgauge.transport.local import open_local_log
from flowgauge.transport.local_file import FILE_NAME
from flowgauge.transport.yaml_files import read_documents, refuse_no_files, yaml_files


async def apply_files(place: Place, files: Sequence[Path]) -> tuple[Written, Applied]:
    """Put the rules and channels of `files` in force; return what they say and what became of it.

    Raises InvalidRules before it asks anyone.
    """
    refuse_no_files(files)
    texts = texts_of(yaml_files(files))
    written = check_written(*read_documents(files), PUBLIC_ONLY)  # the server says whether channels may be elsewhere
    try:
        answer = await post(place, "/v1/rules", msgspec.json.encode({"files": texts}))
        return written, Applied(answer.body["version"], tuple(answer.body["warnings"]))
    except ServerAway as away:
        if not has_log(place.data):
            raise
        written.refuse_unknown_names()  # these files become all there is: a channel stands in them or nowhere
        version = await _apply_to_folder(place.data, texts, written.ruleset, away)
    # The server that will start here has an environment of its own: its secrets are for it to miss.
    return written, Applied(version, tuple(str(warning) for warning in written.ruleset.warnings))


async def _apply_to_folder(data: Path, texts: dict[str, str], ruleset: RuleSet, away: ServerAway) -> int:
    try:
        with lock_data_folder(data):
            replace_files(data / APPLIED, texts)
            log = await open_local_log(data, partitions={})
            try:
                return await publish_rules(log, ruleset)
            finally:
                await log.close()
    except DataFolderLocked as locked:
        raise ServerAway(f"{away}; {locked}") from None
    except Transient as full:
        raise BadEnvironment(str(full)) from None


def has_log(data: Path) -> bool:
    """Tell whether a server has run in this folder."""
    return (data / FILE_NAME).is_file()
