"""The kill switch of automated actions: stopped or going, for one tenant or for everybody, and who said so.

A stop holds for whoever runs actions from when that one reads it, within a second where nothing is wrong.
"""

from typing import TypedDict
from uuid import uuid4

import msgspec

from flowgauge.console.web.acts import Person, person
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.metric_operations import TENANT
from flowgauge.console.web.openapi import Content, Operation
from flowgauge.schemas.control import ActionsSwitched
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import rfc3339

SWITCHES = "/v1/actions"
STOP, START = f"{SWITCHES}/stop", f"{SWITCHES}/start"


class SwitchActions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`by` is who: where that is left out, the user name that the token came with. `everyone` is the operator's."""

    by: Person = ""
    everyone: bool = False


class SwitchTold(TypedDict):
    """The newest word for a tenant, or for everybody ("*")."""

    tenant: str
    are_stopped: bool
    by: str
    at: str


class ActionsTold(TypedDict):
    """Whether a tenant's actions are stopped, and the words that say so or the opposite."""

    tenant: str
    are_stopped: bool
    switches: list[SwitchTold]


def read_switch(body: bytes, login: str) -> SwitchActions:
    """Return what a body says; `login` does it where the body does not say who. Raises BadInput."""
    try:
        asked = msgspec.json.decode(body, type=SwitchActions)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f'the body, such as {{"by":"ann"}}: {error}') from None
    return msgspec.structs.replace(asked, by=person(asked.by.strip() or login))


async def switch_actions(answers: Answers, tenant: str, asked: SwitchActions, *, are_stopped: bool) -> ActionsTold:
    """Stop the actions durably, or let them go on. Raises Transient when the log cannot take it now."""
    book = answers.controls
    if book is None:
        raise BadInput("actions are not switched here: ask `flowgauge up` or `flowgauge console`")
    await book.refresh()
    whose = ANY_TENANT if asked.everyone else tenant
    before = book.in_force.switch_of_actions(whose)
    at_ms = max(answers.now_ms(), before.at_ms + 1 if before else 0)  # the clock may have stepped back
    await book.append(
        ActionsSwitched(control_id=uuid4().hex, tenant=whose, at_ms=at_ms, by=asked.by, are_stopped=are_stopped)
    )
    return actions_told(answers, tenant)


def actions_told(answers: Answers, tenant: str) -> ActionsTold:
    """Return how the switch stands for `tenant`."""
    if answers.controls is None:
        return {"tenant": tenant, "are_stopped": False, "switches": []}
    in_force = answers.controls.in_force
    found = [switch for each in (ANY_TENANT, tenant) if (switch := in_force.switch_of_actions(each))]
    return {
        "tenant": tenant,
        "are_stopped": in_force.are_actions_stopped(tenant),
        "switches": [
            {"tenant": each.tenant, "are_stopped": each.are_stopped, "by": each.by, "at": rfc3339(each.at_ms)}
            for each in found
        ],
    }


ACTION_OPERATIONS = (
    Operation(
        method="GET",
        path=SWITCHES,
        title="Whether automated actions are stopped, and who said so",
        parameters=(TENANT,),
        answer=ActionsTold,
        refusals=(400, 401, 403),
    ),
    *(
        Operation(
            method="POST",
            path=path,
            title=title,
            about="Durable when it is answered. For `everyone` it is the operator's to say.",
            parameters=(TENANT,),
            body={"application/json": Content(SwitchActions, {"by": "ann"})},
            answer=ActionsTold,
            refusals=(400, 401, 403, 413, 415, 503),
        )
        for path, title in ((STOP, "Stop automated actions"), (START, "Let automated actions go on"))
    ),
)
