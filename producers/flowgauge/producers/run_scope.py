"""What a flow run and its tasks say about themselves: the events of one `with publisher.run(…)`. Does no I/O.

    with publisher.run("nightly-etl", scheduled_for=slot) as run:      flow-run.running
        run.log("INFO", "42 rows")                                     log.write
        run.used(cost="0.31", currency="EUR", rows=42)                 run.used
                                                                       flow-run.heartbeat, while it lasts
        with run.task("extract"):                                      task-run.running, task-run.completed
            ...
                                                                       flow-run.completed, or failed with the exception

An exception goes on as if the scope were not there. What ends a run how:

    no exception, SystemExit without a code       completed
    KeyboardInterrupt, a cancelled task, closing  cancelled
    any other                                     failed
    what `run.ends` said, whatever happens        that
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, cast, get_args

from flowgauge.schemas.check import SCHEDULED_MAX, SCHEDULED_MIN

NAME_CHARS_MAX = 1_024  # what the server accepts as a flow's name and a run's id
MESSAGE_CHARS_MAX = 8_192  # of an exception or a log line; the rest is cut, so that no line costs an event
PAYLOAD_DEPTH_MAX = 16  # how deep strings are cleaned: a payload that holds itself has no end
TAGS_MAX = 90  # an event has room for 100 related things
VALUE_CHARS_MAX = 100  # of a value that is told to be wrong

Emit = Callable[[Mapping[str, object]], bool]
Complain = Callable[[str, str, str], None]  # once of each kind: the kind, a message with one %s, the value

State = Literal["completed", "failed", "crashed", "cancelled"]  # how a run may end

_ORDER: Final = (
    "occurred",
    "event",
    "kind",
    "flow",
    "run",
    "task",
    "state",
    "scheduled_for",
    "resource",
    "related",
    "payload",
)
COST_MAX: Final = 10**12  # of what questions about money count
_USED_MAX: Final = {"bytes": 2**53, "rows": 2**53, "cpu_utilization": 1, "gpu_utilization": 1}
_CANCELLATIONS: Final = (KeyboardInterrupt, GeneratorExit)
_CANCELLATION_NAMES: Final = frozenset({"CancelledError", "Cancelled"})  # asyncio's and trio's, without importing them


class RunScope:
    """One flow run. `run` is its id; `log`, `used` and `task` say what happens in it. Nothing here raises.

    A value that the server could not take is left out, so that it costs no event, and goes to `complain`.
    """

    def __init__(
        self,
        emit: Emit,
        new_id: Callable[[], str],
        flow: str,
        *,
        complain: Complain,
        run: str | None = None,
        scheduled_for: datetime | str | None = None,
        tags: Sequence[str] = (),
        team: str = "",
    ) -> None:
        self.flow = as_text(flow, NAME_CHARS_MAX)
        self.run = as_text(run or new_id(), NAME_CHARS_MAX)
        self._end: tuple[State, dict[str, object]] | None = None
        self._emit = emit
        self._new_id = new_id
        self._complain = complain
        self._scheduled_for = self._moment(scheduled_for)
        self._related = [{"id": f"flow.{self.flow}", "role": "flow", "name": self.flow}]
        for tag in [tags] if isinstance(tags, str) else tags[:TAGS_MAX]:
            name = as_text(tag, NAME_CHARS_MAX)
            self._related.append({"id": f"tag.{name}", "role": "tag", "name": name})
        if team:
            name = as_text(team, NAME_CHARS_MAX)
            self._related.append({"id": f"team.{name}", "role": "team", "name": name})

    def log(
        self,
        level: str,
        message: str,
        logger: str = "",
        *,
        exception: Mapping[str, str] | None = None,
        occurred: datetime | None = None,
    ) -> bool:
        """Say a log line of this run, of now unless `occurred` says else. Returns whether it was taken.

        `exception` may have `type`, `message` and `traceback`.
        """
        payload: dict[str, object] = {
            "level": as_text(level, NAME_CHARS_MAX).upper(),
            "logger": as_text(logger, NAME_CHARS_MAX),
            "message": as_text(message, MESSAGE_CHARS_MAX),
        }
        if exception:
            payload["exception"] = _cleaned(exception)
        return self._say("log.write", kind="log", resource=self._resource(), payload=payload, occurred=occurred)

    def used(
        self,
        *,
        cost: float | str | Decimal | None = None,
        currency: str = "",
        bytes: int | None = None,  # noqa: A002  # the field's name
        rows: int | None = None,
        cpu_utilization: float | None = None,
        gpu_utilization: float | None = None,
    ) -> bool:
        """Say what this run used since it last said so: sums add up. Returns whether it was taken.

        `cost` is money in `currency` (EUR, or a unit such as DBU), utilisations are shares from 0 to 1. What is none of
        these is not counted, and said once.
        """
        told = {"bytes": bytes, "rows": rows, "cpu_utilization": cpu_utilization, "gpu_utilization": gpu_utilization}
        payload: dict[str, object] = {name: value for name, value in told.items() if value is not None}
        for name, value in payload.items():
            if isinstance(value, str) or not _is_within(value, _USED_MAX[name]):
                message = f"run.used({name}=%s) is no number from 0 to {_USED_MAX[name]}: not counted"
                self._complain(f"used {name}", message, _shown(value))
        if cost is not None:
            if not (_is_within(cost, COST_MAX) and currency):
                message = "run.used(cost=%s) is no number of 0 and above with its currency: not counted"
                self._complain("used cost", message, _shown(cost))
            payload["cost"] = {"amount": str(cost) if isinstance(cost, Decimal) else cost, "currency": currency}
        return self._say("run.used", kind="other", resource=self._resource(), payload=payload)

    def heartbeat(self) -> bool:
        """Say that this run still goes on. Returns whether it was taken."""
        return self._say("flow-run.heartbeat", kind="flow-run", resource=self._resource())

    def ends(self, state: State, payload: Mapping[str, object] | None = None) -> None:
        """Let the run end as `state`, with `payload`, whatever ends the block: for work that fails without raising."""
        if state not in get_args(State):
            self._complain("ends", f"run.ends(%s) is none of {', '.join(get_args(State))}: left out", _shown(state))
            return
        self._end = state, {str(_cleaned(name)): _cleaned(value) for name, value in (payload or {}).items()}

    @contextmanager
    def task(self, name: str) -> Generator[str, None, None]:
        """Say that a task of this run is running and how it ended; yields the task-run id."""
        task = self._new_id()
        resource = {"id": f"task-run.{task}", "name": as_text(name, NAME_CHARS_MAX)}
        related = [{**self._resource(), "role": "flow-run"}, *self._related]

        def say(state: str, payload: dict[str, object]) -> None:
            self._say(
                f"task-run.{state}",
                kind="task-run",
                task=task,
                state=state,
                resource=resource,
                related=related,
                payload=payload,
            )

        with _told(say):
            yield task

    @contextmanager
    def told(self) -> Generator["RunScope", None, None]:
        """Say that the run is running and how it ended."""
        with _told(self._say_state):
            yield self

    def _say_state(self, state: str, payload: dict[str, object]) -> None:
        if state != "running" and self._end is not None:
            state, payload = self._end
        self._say(f"flow-run.{state}", kind="flow-run", state=state, resource=self._resource(), payload=payload)

    def _say(self, event: str, **fields: object) -> bool:
        said = {"event": event, "flow": self.flow, "run": self.run, "related": self._related, **fields}
        if said["kind"] == "flow-run":
            said["scheduled_for"] = self._scheduled_for
        # In the order in which the log keeps them: such a record needs no second look at the gateway.
        return self._emit({name: said[name] for name in _ORDER if said.get(name)})

    def _moment(self, moment: datetime | str | None) -> datetime | None:
        """Return `moment` in UTC, as which a naive one counts; None, and a complaint, where it is no time."""
        if moment is None or moment == "":
            return None
        try:
            found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
            if SCHEDULED_MIN <= found < SCHEDULED_MAX:
                return found
        except Exception:  # noqa: BLE001, S110  # whatever was given instead of a time; it is told below
            pass
        message = "scheduled_for=%s is no time of 1970 to 2199, such as 2026-12-01T04:00:00Z: left out"
        self._complain("scheduled_for", message, _shown(moment))
        return None

    def _resource(self) -> dict[str, str]:
        return {"id": f"flow-run.{self.run}", "name": self.flow}


@contextmanager
def _told(say: Callable[[str, dict[str, object]], None]) -> Generator[None, None, None]:
    say("running", {})
    try:
        yield
    except BaseException as exception:
        state = _state_after(exception)
        say(state, {} if state == "completed" else {"exception": _described(exception)})
        raise
    say("completed", {})


def _state_after(exception: BaseException) -> str:
    if isinstance(exception, SystemExit) and not exception.code:
        return "completed"
    cancelled = isinstance(exception, _CANCELLATIONS) or type(exception).__name__ in _CANCELLATION_NAMES
    return "cancelled" if cancelled else "failed"


def _described(exception: BaseException) -> dict[str, str]:
    return {"type": type(exception).__qualname__, "message": as_text(exception, MESSAGE_CHARS_MAX)}


def as_text(value: object, chars_max: int) -> str:
    """Return the first `chars_max` characters of `value`, or the name of its type where it cannot be told.

    Halves of surrogate pairs, which stand for bytes of file names that are no UTF-8, become `?`: no JSON holds them.
    """
    try:
        text = str(value)[:chars_max]
        return text if text.isascii() else text.encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  # a __str__ of the work's own may fail; the work must still go on
        return f"<{type(value).__qualname__}>"


def _is_within(value: object, most: int) -> bool:
    try:
        return 0 <= Decimal(as_text(value, VALUE_CHARS_MAX)) <= most
    except ArithmeticError:  # no number, or one that cannot be compared
        return False


def _shown(value: object) -> str:
    return repr(as_text(value, VALUE_CHARS_MAX)) if isinstance(value, str) else as_text(value, VALUE_CHARS_MAX)


def _cleaned(value: object, depth: int = PAYLOAD_DEPTH_MAX) -> object:
    """Return `value` with its strings as `as_text` has them, uncut."""
    match value:
        case str():
            return as_text(value, len(value))
        case Mapping() if depth:
            return {
                _cleaned(name): _cleaned(each, depth - 1)
                for name, each in cast("Mapping[object, object]", value).items()
            }
        case list() | tuple() if depth:
            return [_cleaned(each, depth - 1) for each in cast("Sequence[object]", value)]
        case _:
            return value
