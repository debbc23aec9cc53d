"""Doing something about an incident: looked up, read up to what others did, written to the log, told."""

from uuid import uuid4

from flowgauge.console.web.acts import Doing, Merge, act_of, acts_json, handling_json
from flowgauge.console.web.answer_records import HandledIncident
from flowgauge.console.web.answers import Answers
from flowgauge.schemas.errors import BadInput
from flowgauge.sinks.clickhouse.incidents import Incident
from flowgauge.transport.control_book import ControlBook

ID_CHARS_SHOWN = 64  # of an id that there is not


async def do(answers: Answers, tenant: str, incident_id: str, doing: Doing) -> HandledIncident | None:
    """Do it durably and return how the incident is handled now; None when this tenant has none of that id.

    Raises BadInput for a merge that cannot be, Transient when the log cannot take it now.
    """
    found = await answers.incident_named(tenant, incident_id)
    if found is None:
        return None
    book = answers.controls
    if book is None:
        raise BadInput("nothing can be done about incidents here: ask `flowgauge up` or `flowgauge console`")
    await book.refresh()  # so that it is newer than what others did meanwhile
    if isinstance(doing, Merge):
        doing = Merge(by=doing.by, into=await _into(answers, book, found, doing.into))
    at_ms = book.in_force.later_than(tenant, found.incident_id, answers.now_ms())
    await book.append(act_of(doing, tenant=tenant, incident_id=found.incident_id, control_id=uuid4().hex, at_ms=at_ms))
    handling = book.in_force.handling(tenant, found.incident_id)
    return {
        "incident_id": found.incident_id,
        "tenant": tenant,
        "handling": handling_json(handling),
        "acts": acts_json(handling),
        "acts_cut": handling.is_cut,
    }


async def _into(answers: Answers, book: ControlBook, merged: Incident, into: str) -> str:
    """Return the whole id of what `merged` is to be a part of; raise BadInput where that cannot be."""
    found = await answers.incident_named(merged.tenant, into)
    if found is None:
        raise BadInput(f"into: no incident of tenant {merged.tenant} has the id {into[:ID_CHARS_SHOWN]!r}")
    root = book.in_force.root(merged.tenant, found.incident_id)
    if root == merged.incident_id:
        what = "an incident" if found.incident_id == root else f"{found.incident_id} is part of it already: an incident"
        raise BadInput(f"into: {what} cannot be part of itself")
    return found.incident_id
