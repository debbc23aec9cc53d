"""Adding, ending, listing and previewing silences: read up to what others did, written to the log, told."""

import asyncio
from uuid import uuid4

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.silences import (
    LATE_MS,
    PreviewTold,
    SilenceList,
    SilenceTold,
    listed,
    previewed,
    silence_json,
    whose,
)
from flowgauge.schemas.control import Silenced, SilenceExpired
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silence_form import SilenceAsked, check_id, silence_of
from flowgauge.schemas.silencing import SilenceInForce
from flowgauge.transport.control_book import ControlBook

OF_TENANT_MAX = 500  # silences of a tenant that are not over: a storm is asked about each pattern of them
ID_CHARS = 12  # of an id that is made here


async def add(answers: Answers, tenant: str, asked: SilenceAsked) -> SilenceTold:
    """Add the silence durably, or return the one that is there where the same was asked with its id before.

    Raises BadInput for what cannot be, Transient when the log cannot take it now.
    """
    book = _book(answers)
    tenant = whose(asked, tenant)
    await book.refresh()
    now_ms = answers.now_ms()
    silence_id = check_id(asked.id) if asked.id else uuid4().hex[:ID_CHARS]
    before = _found(book, tenant, silence_id)
    if before is not None:
        _refuse_another(before, asked)
        return silence_json(before, now_ms)
    silence = silence_of(asked, silence_id=silence_id, now_ms=now_ms)
    ahead = [
        each for each in book.in_force.silences.of(tenant) if each.ends_ms > now_ms and each.added.tenant == tenant
    ]
    if len(ahead) >= OF_TENANT_MAX:
        raise BadInput(f"there are {len(ahead)} silences that are not over: end some, or write one with a pattern")
    control = Silenced(control_id=uuid4().hex, tenant=tenant, at_ms=now_ms, by=asked.by, silence=silence)
    await book.append(control)
    return silence_json(_found(book, tenant, silence_id) or SilenceInForce(control), now_ms)


async def expire(answers: Answers, tenant: str, silence_id: str, *, by: str, is_operator: bool) -> SilenceTold | None:
    """End a silence durably, and return it; one that is over stays as it is. None where there is none of that id.

    Raises BadInput for one of everybody, where it is not the operator who ends it.
    """
    book = _book(answers)
    await book.refresh()
    found = _found(book, tenant, silence_id) or _found(book, ANY_TENANT, silence_id)
    if found is None:
        return None
    if found.added.tenant == ANY_TENANT and not is_operator:
        raise BadInput(f"silence {silence_id} is everybody's: only the operator ends it")
    now_ms = answers.now_ms()
    if found.ends_ms <= now_ms:
        return silence_json(found, now_ms)
    at_ms = max(now_ms, found.added.at_ms + 1)
    control = SilenceExpired(
        control_id=uuid4().hex, tenant=found.added.tenant, at_ms=at_ms, by=by, silence_id=silence_id
    )
    await book.append(control)
    return silence_json(SilenceInForce(found.added, control), at_ms)


def silences(answers: Answers, tenant: str, *, with_expired: bool) -> SilenceList:
    """Return the silences that are about incidents of `tenant`."""
    return listed(_book(answers).in_force.silences.of(tenant), answers.now_ms(), with_expired=with_expired)


async def preview(answers: Answers, tenant: str, asked: SilenceAsked) -> PreviewTold:
    """Return what the silence would hide, of what ClickHouse knows. Raises BadInput for what cannot be a silence."""
    now_ms = answers.now_ms()
    silence = silence_of(asked, silence_id="", now_ms=now_ms)
    incidents = await answers.hidable(whose(asked, tenant), now_ms - LATE_MS)
    return await asyncio.to_thread(previewed, silence, incidents, now_ms)


def _book(answers: Answers) -> ControlBook:
    if answers.controls is None:
        raise BadInput("silences are not known here: ask `flowgauge up` or `flowgauge console`")
    return answers.controls


def _found(book: ControlBook, tenant: str, silence_id: str) -> SilenceInForce | None:
    return next(
        (
            each
            for each in book.in_force.silences.of(tenant)
            if each.added.tenant == tenant and each.silence.silence_id == silence_id
        ),
        None,
    )


def _refuse_another(before: SilenceInForce, asked: SilenceAsked) -> None:
    """Refuse an id that another silence has; the same asked again, with times that follow from now, is no other."""
    try:
        same = silence_of(asked, silence_id=before.silence.silence_id, now_ms=before.added.at_ms) == before.silence
    except BadInput:
        same = False
    if not same:
        raise BadInput(f"id: {before.silence.silence_id} is another silence: take another id, or leave it out")
