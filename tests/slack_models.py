"""Slack's own models of messages, behind one typed function: what they say of blocks."""

from collections.abc import Sequence
from typing import Any, cast

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block


def block_fault(blocks: Sequence[dict[str, Any]]) -> str:
    """Return what is wrong with `blocks`: over a limit, or with fields that Slack does not know; "" if nothing is."""
    parse = cast("Any", Block).parse_all
    try:
        known = [parsed.to_dict() for parsed in parse(blocks)]
    except SlackObjectFormationError as error:
        return str(error)
    return "" if known == list(blocks) else f"read as {known}"
