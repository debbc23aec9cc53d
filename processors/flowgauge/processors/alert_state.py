"""The alert state machine: (alert, verdict, pane end) → the changes, each with its reason.

    inactive ──breach──► pending ──`for` over──► firing ──clear──► recovering ──`keep_firing_for` over──► resolved
        ▲                   │                       ▲                  │
        └──── lapses ───────┘                       └──── breach ──────┘        no_data beside them (`no_data: fire`)

Cases, cited below:
 1. BREACH opens an incident: pending, or firing at once without `for`. `opened_at` is that pane end.
 2. BREACH while pending: fires when it has held for `for`.
 3. CLEAR or BETWEEN while pending: it did not hold; back to inactive, never told.
 4. CLEAR while firing: recovering, or resolved at once without `keep_firing_for`.
 5. CLEAR while recovering: resolves when it has been clear for `keep_firing_for` without a break.
 6. BETWEEN while firing changes nothing; while recovering it starts the wait again. So a value that moves
    between `clear_below` and `above` never makes the alert oscillate.
 7. HELD changes nothing: `for` and `keep_firing_for` run out only at a breach or at a clear value.
 8. EMPTY: `hold` as HELD, `resolve` as CLEAR, `fire` enters no_data, which data leaves again by case 4 or firing.
"""

from typing import Literal, NamedTuple

import msgspec

from flowgauge.processors.reading import Verdict
from flowgauge.schemas.transition import AlertState

NoData = Literal["hold", "resolve", "fire"]


class Policy(NamedTuple):
    """What a rule says about the life of its alerts."""

    for_ms: int
    keep_firing_for_ms: int
    no_data: NoData


class Alert(msgspec.Struct, array_like=True, gc=False):
    """The alert of one (rule, key). `seq` counts the transitions of the open incident."""

    state: AlertState = "inactive"
    opened_at_ms: int = 0
    seq: int = 0
    clear_since_ms: int | None = None  # while recovering and clear


class Change(NamedTuple):
    """One transition of the alert, with its number in the incident."""

    from_state: AlertState
    to_state: AlertState
    seq: int
    opened_at_ms: int
    cause: str  # why, where the reading alone does not say it


def step(alert: Alert, verdict: Verdict, end_ms: int, policy: Policy) -> Change | None:
    """Move `alert` by the verdict at the pane end `end_ms` and return the change, if there is one."""
    if verdict is Verdict.EMPTY:
        if policy.no_data == "fire":
            return _go(alert, "no_data", end_ms, "no data in the window") if alert.state != "no_data" else None
        verdict = Verdict.CLEAR if policy.no_data == "resolve" else Verdict.HELD
    if verdict is Verdict.BREACH:
        return _breach(alert, end_ms, policy)
    if verdict is Verdict.BETWEEN:
        return _between(alert, end_ms)
    if verdict is Verdict.CLEAR:
        return _clear(alert, end_ms, policy)
    return None  # case 7


def close(alert: Alert, at_ms: int, cause: str) -> Change | None:
    """End what is open because its rule is gone; pending alerts lapse."""
    if alert.state == "inactive":
        return None
    return _go(alert, "inactive" if alert.state == "pending" else "resolved", at_ms, cause)


def next_timer_ms(alert: Alert, policy: Policy) -> int | None:
    """Return when `for` or `keep_firing_for` runs out, if the verdict stays as it is."""
    if alert.state == "pending":
        return alert.opened_at_ms + policy.for_ms
    if alert.state == "recovering" and alert.clear_since_ms is not None:
        return alert.clear_since_ms + policy.keep_firing_for_ms
    return None


def _breach(alert: Alert, end_ms: int, policy: Policy) -> Change | None:
    alert.clear_since_ms = None
    match alert.state:
        case "inactive" | "resolved":  # case 1
            return _go(alert, "pending" if policy.for_ms else "firing", end_ms, "")
        case "pending" if end_ms - alert.opened_at_ms >= policy.for_ms:  # case 2
            return _go(alert, "firing", end_ms, "")
        case "recovering" | "no_data":
            return _go(alert, "firing", end_ms, "")
        case _:
            return None


def _between(alert: Alert, end_ms: int) -> Change | None:
    alert.clear_since_ms = None  # case 6
    if alert.state == "pending":  # case 3
        return _go(alert, "inactive", end_ms, "the breach did not hold")
    return None


def _clear(alert: Alert, end_ms: int, policy: Policy) -> Change | None:
    match alert.state:
        case "pending":  # case 3
            return _go(alert, "inactive", end_ms, "the breach did not hold")
        case "firing" | "no_data":  # case 4
            if not policy.keep_firing_for_ms:
                return _go(alert, "resolved", end_ms, "")
            alert.clear_since_ms = end_ms
            return _go(alert, "recovering", end_ms, "")
        case "recovering":  # case 5
            if alert.clear_since_ms is None:
                alert.clear_since_ms = end_ms
            if end_ms - alert.clear_since_ms >= policy.keep_firing_for_ms:
                return _go(alert, "resolved", end_ms, "")
            return None
        case _:
            return None


def _go(alert: Alert, to_state: AlertState, end_ms: int, cause: str) -> Change:
    from_state = alert.state
    if from_state == "inactive":
        alert.opened_at_ms, alert.seq = end_ms, 0
    change = Change(from_state, to_state, alert.seq, alert.opened_at_ms, cause)
    alert.seq += 1
    alert.state = "inactive" if to_state == "resolved" else to_state  # resolved ends the incident
    if alert.state == "inactive":
        alert.clear_since_ms = None
    return change
